//! Workers fetch pages, and the program deals with each page as it comes, in whatever order that is.
//!
//! The pages are served by a thread of this very program, so that no network is needed.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use kettle::Pool;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Page {
    url: String,
    text: String,
}

kettle::task! {
    fn get_page(server: SocketAddr, path: String) -> Result<Page, String> {
        println!("  <process {}> get {path}", std::process::id());
        let text = fetch(server, &path).map_err(|e| e.to_string())?;
        Ok(Page { url: format!("http://{server}{path}"), text })
    }
}

fn fetch(server: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(server)?;
    write!(connection, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
}

/// The slower a page, the shorter its name.
fn serve(listener: &TcpListener) -> std::io::Result<()> {
    for connection in listener.incoming() {
        let mut connection = connection?;
        thread::spawn(move || -> std::io::Result<()> {
            let mut request = String::new();
            BufReader::new(&connection).read_line(&mut request)?;
            let path = request.split_whitespace().nth(1).unwrap_or("/");
            thread::sleep(Duration::from_millis(100 / path.len() as u64));
            write!(connection, "HTTP/1.0 200 OK\r\n\r\n{}", path.repeat(100))
        });
    }
    Ok(())
}

fn parse_page(page: &Page) {
    println!("  <process {}> parse {}: {} bytes", std::process::id(), page.url, page.text.len());
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let server = listener.local_addr()?;
    thread::spawn(move || serve(&listener));

    let pool = Pool::builder().workers(3).build()?;
    let paths = ["/a", "/bee", "/cedar", "/dandelion", "/elderberries"];
    let mut bytes = 0;
    for page in pool.imap_unordered(|path| get_page::call(server, path), paths.map(String::from)) {
        let page = page??;
        parse_page(&page);
        bytes += page.text.len();
    }
    println!("Five pages with {bytes} bytes.");
    Ok(())
}
