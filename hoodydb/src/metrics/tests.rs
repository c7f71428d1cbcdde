use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::*;

struct Fixed;

impl Source for Fixed {
    fn figures(&self) -> Figures {
        Figures { mountpoint: "/m".to_owned(), ..Figures::default() }
    }
}

/// A server on a free port, until the runtime is dropped.
fn server() -> (tokio::runtime::Runtime, SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listening = Listening::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let Address::Tcp(address) = *listening.address() else { panic!("TCP") };
    let guard = runtime.enter();
    runtime.spawn(Server::new(&listening).unwrap().serve(Arc::new(Fixed)));
    drop(guard);
    (runtime, address)
}

fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn get_is_answered_and_nothing_else() {
    let (_runtime, address) = server();
    let answer = ask(address, b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("hoodydb_mount_info{mountpoint=\"/m\",version=\"\"} 1\n"), "{answer}");
    assert!(ask(address, b"GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 404 "));
    assert!(ask(address, b"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(!ask(address, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").contains("hoodydb_mount_info"));
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let (_runtime, address) = server();
    for garbage in [&b"\xff\0\xff\r\n\r\n"[..], b"GET", &[b'x'; 100_000]] {
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.write_all(garbage);
    }
    assert!(ask(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
}
