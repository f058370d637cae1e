//! A site with shelves of teas: `/shelf/7` has links to `/tea/7-0` and so on.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

pub const SHELVES: usize = 50;
const TEAS_ON_A_SHELF: usize = 4;
/// How long it takes for each answer.
pub const SLOWNESS: Duration = Duration::from_millis(20);

/// Opens the site, and returns its address.
pub async fn open() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(BufStream::new(stream)));
        }
    });
    Ok(address)
}

async fn answer(mut stream: BufStream<TcpStream>) -> io::Result<()> {
    let mut request = String::new();
    // The head ends with an empty line.
    while stream.read_line(&mut request).await? > 2 {}
    let path = request.split(' ').nth(1).unwrap_or_default();
    sleep(SLOWNESS).await;
    let (status, body) = match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some(("shelf", name)) => {
            ("200 OK", (0..TEAS_ON_A_SHELF).map(|i| format!("<h3><a href='/tea/{name}-{i}'>a tea</a></h3>")).collect())
        }
        Some(("tea", name)) => ("200 OK", format!("<h1 class='title'>tea number {name}</h1>")),
        _ => ("404 Not Found", String::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.flush().await
}
