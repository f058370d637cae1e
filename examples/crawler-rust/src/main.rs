//! A crawler: reads fifty pages at the same time, follows the links on them, and prints what it finds. Waiting for the
//! site costs no thread; parsing computes, so a pool of threads does that, and its results are awaited. The site runs
//! in the same program. `examples/crawler.py` does the same in Python.
//!
//! ```sh
//! cargo run --manifest-path examples/crawler-rust/Cargo.toml
//! ```

mod site;

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use kettle::ThreadPool;
use reqwest::Client;
use scraper::{Html, Selector};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

struct Crawler {
    site: String,
    client: Client,
    parsers: ThreadPool,
}

impl Crawler {
    /// Reads a page, and returns what `parse` finds in it.
    async fn read<T: Send + 'static>(&self, path: &str, parse: fn(&Html) -> T) -> Result<T, Failure> {
        let answer = self.client.get(format!("{}{path}", self.site)).send().await?.error_for_status()?;
        let text = answer.text().await?;
        Ok(self.parsers.submit(move || parse(&Html::parse_document(&text)))?.await?)
    }

    /// Reads the teas that a page has links to. Returns how many there were.
    async fn shelf(self: Arc<Self>, number: usize) -> Result<usize, Failure> {
        let mut teas = JoinSet::new();
        for path in self.read(&format!("/shelf/{number}"), links).await? {
            let crawler = self.clone();
            teas.spawn(async move {
                let title = crawler.read(&path, title).await?;
                println!("  {path}: {title}");
                Ok::<_, Failure>(())
            });
        }
        let count = teas.len();
        while let Some(tea) = teas.join_next().await {
            tea??;
        }
        Ok(count)
    }
}

fn select<T>(page: &Html, selector: &str, what: impl Fn(scraper::ElementRef) -> Option<T>) -> Vec<T> {
    let selector = Selector::parse(selector).expect("a selector");
    page.select(&selector).filter_map(what).collect()
}

fn links(page: &Html) -> Vec<String> {
    select(page, "h3>a", |link| link.attr("href").map(str::to_owned))
}

fn title(page: &Html) -> String {
    select(page, ".title", |title| Some(title.text().collect::<String>())).concat()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let crawler = Arc::new(Crawler {
        site: site::open().await?,
        client: Client::new(),
        parsers: ThreadPool::builder().workers(2).name("parser").build()?,
    });
    let started = Instant::now();
    let mut shelves = JoinSet::new();
    for number in 0..site::SHELVES {
        shelves.spawn(crawler.clone().shelf(number));
    }
    let mut teas = 0;
    while let Some(count) = shelves.join_next().await {
        teas += count??;
    }
    let pages = teas + site::SHELVES;
    let one_by_one = site::SLOWNESS * pages as u32;
    println!("{teas} teas on {pages} pages in {:.2?}; one by one at least {one_by_one:.0?}", started.elapsed());
    Ok(())
}
