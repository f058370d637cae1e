"""Two ends of a pipe: questions one way, answers the other, and a clear end when one side closes."""

import kettle.multiprocessing as multiprocessing


def answer(end, not_mine) -> None:
    not_mine.close()  # a forked child has both ends; the end of the pipe is seen once no process has the other one
    while True:
        try:
            question = end.recv()
        except EOFError:
            print("  the other side has closed: done")
            return
        print(f"  asked for {question!r}")
        end.send(sum(question))


if __name__ == "__main__":
    mine, theirs = multiprocessing.Pipe()
    child = multiprocessing.Process(target=answer, args=(theirs, mine))
    child.start()
    theirs.close()  # only the child has this end now
    for question in ([1, 2, 3], range(1000), (0.5, 0.25)):
        mine.send(question)
        print(f"the answer is {mine.recv()}")
    mine.close()
    child.join()
