//! The server answers every request, whatever becomes of its workers.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parse_server::{RETRIES, Service, router};

kettle::init_in_tests!();

/// Longer than any document takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// Starts a server for the rest of the test program.
fn serve(patience: Duration) -> (SocketAddr, Arc<Service>) {
    let service = Service::new(2, patience).unwrap();
    let (tell, address) = std::sync::mpsc::channel();
    let served = Arc::clone(&service);
    thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, router(served)).await.unwrap();
        });
    });
    (address.recv().unwrap(), service)
}

/// The status and the body of the answer.
fn post(address: SocketAddr, document: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let len = document.len();
    write!(
        stream,
        "POST /parse HTTP/1.1\r\nHost: test\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{document}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned());
    status.zip(body).ok_or_else(|| io::Error::other(answer))
}

#[test]
fn each_fault_costs_its_own_request() {
    let (address, service) = serve(LONG);
    let good = || assert_eq!(post(address, "1 + 2 + 3").unwrap(), (200, "6".into()));
    good();
    for (document, status, says) in [
        ("1 + x", 400, "is no number"),
        ("panic", 422, "this cannot happen"),
        ("crash", 422, "died"),
        ("eat", 413, "too much memory"),
    ] {
        let answer = post(address, document).unwrap();
        assert_eq!(answer.0, status, "{document}: {answer:?}");
        assert!(answer.1.contains(says), "{document}: {answer:?}");
        good();
    }
    let statistics = service.statistics();
    assert_eq!((statistics.done, statistics.failed, statistics.timed_out), (6, 1, 0));
}

#[test]
fn a_document_that_never_ends_is_given_up() {
    let (address, service) = serve(Duration::from_millis(300));
    let answer = post(address, "hang").unwrap();
    assert_eq!(answer.0, 504, "{answer:?}");
    assert_eq!(service.statistics().timed_out, 1);
}

/// Kills workers while clients ask. Every answer is right, or says that all tries were killed.
fn storm(kills: usize) -> Result<(), Box<dyn Error>> {
    let (address, service) = serve(LONG);
    let is_over = AtomicBool::new(false);
    let answers = thread::scope(|scope| -> Result<usize, Box<dyn Error>> {
        let clients: Vec<_> = (0..3)
            .map(|client: usize| {
                let is_over = &is_over;
                scope.spawn(move || {
                    let mut right = 0;
                    for n in client.. {
                        if is_over.load(Ordering::SeqCst) {
                            break;
                        }
                        match post(address, &format!("{n} + 1")).expect("the server answers") {
                            (200, sum) => {
                                assert_eq!(sum, (n + 1).to_string());
                                right += 1;
                            }
                            (422, why) => assert!(why.contains("died"), "{why}"),
                            other => panic!("{other:?}"),
                        }
                    }
                    right
                })
            })
            .collect();
        let mut killed = 0;
        while killed < kills {
            // Whichever worker answers: it has a task, or is idle.
            let (200, pid) = post(address, "pid")? else { continue };
            killed += usize::from(Command::new("kill").args(["-9", &pid]).status()?.success());
        }
        is_over.store(true, Ordering::SeqCst);
        Ok(clients.into_iter().map(|client| client.join().expect("its answers are right")).sum())
    })?;
    assert!(answers > 0);
    let statistics = service.statistics();
    println!("{answers} right answers beside {kills} kills, with {RETRIES} retries each: {statistics:?}");
    assert_eq!(post(address, "20 + 22")?, (200, "42".into()));
    assert_eq!(service.statistics().queued, 0);
    Ok(())
}

#[test]
fn killed_workers_are_replaced() -> Result<(), Box<dyn Error>> {
    storm(30)
}

#[test]
#[ignore = "a minute"]
fn a_thousand_killed_workers_are_replaced() -> Result<(), Box<dyn Error>> {
    storm(1000)
}
