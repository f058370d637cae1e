"""A crawler: reads fifty pages at the same time, follows the links on them, and prints what it finds. The site runs in
the same program, on the same loop."""

import re
import time
from urllib.parse import urlsplit

import kettle.asyncio as asyncio

PAGES, TEAS_ON_A_PAGE = 50, 4
SLOWNESS = 0.02  # seconds that the site takes for each answer
AT_ONCE = 100  # connections


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The site: /shelf/7 has links to its teas, such as /tea/7-1."""
    request = await reader.readuntil(b"\r\n\r\n")
    _, kind, name = request.split(b" ")[1].decode().split("/")
    await asyncio.sleep(SLOWNESS)
    if kind == "shelf":
        links = (f'<h3><a href="/tea/{name}-{i}">a tea</a></h3>' for i in range(TEAS_ON_A_PAGE))
        body = f"<html>{''.join(links)}</html>".encode()
    else:
        body = f"<html><h1 class='title'>tea number {name}</h1></html>".encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
    await writer.drain()
    writer.close()


async def get(url: str) -> str:
    """Returns the text of a page."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    try:
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError(f"{url}: {head.splitlines()[0].decode()}")
    return body.decode()


class Crawler:
    def __init__(self, site: str) -> None:
        self.site = site
        self.places = asyncio.Semaphore(AT_ONCE)
        self.titles: dict[str, str] = {}

    async def read(self, path: str) -> str:
        async with self.places:
            return await get(self.site + path)

    async def shelf(self, number: int) -> None:
        page = await self.read(f"/shelf/{number}")
        async with asyncio.TaskGroup() as group:
            for path in re.findall('<h3><a href="([^"]+)"', page):
                group.create_task(self.tea(path))

    async def tea(self, path: str) -> None:
        (title,) = re.findall("class='title'>([^<]+)<", await self.read(path))
        self.titles[path] = title
        print(f"  {path}: {title}")


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=AT_ONCE)
    host, port = server.sockets[0].getsockname()
    crawler = Crawler(f"http://{host}:{port}")
    started = time.perf_counter()
    async with server, asyncio.TaskGroup() as group:
        for number in range(PAGES):
            group.create_task(crawler.shelf(number))
    pages = PAGES + len(crawler.titles)
    took = time.perf_counter() - started
    print(f"{len(crawler.titles)} teas on {pages} pages in {took:.2f} s; one by one at least {pages * SLOWNESS:.0f} s")


if __name__ == "__main__":
    asyncio.run(main())
