"""Death: processes killed with SIGKILL at named points and at random instants, and what must hold afterwards."""
