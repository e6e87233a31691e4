//! Files are kept for the store: clients that hold all connections take none of those.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;

use crate::server::{Server, Site, eventually};

/// The command that serves `site`, allowed to open `files` files, by somebody who hides none.
fn limited(site: &Site, files: u64) -> Command {
    let serve = site.serve();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("umask 0; ulimit -n {files}; exec \"$0\" \"$@\""));
    shell.arg(serve.get_program()).args(serve.get_args()).stdin(Stdio::null());
    for (name, _) in serve.get_envs() {
        shell.env_remove(name);
    }
    shell
}

/// A connection that holds its place: its body is still to come.
struct Holder(TcpStream);

const UPDATE: &str = r#"{"status":"queued"}"#;

impl Holder {
    fn new(address: &str, number: usize) -> Option<Self> {
        let mut stream = TcpStream::connect(address).ok()?;
        let length = UPDATE.len();
        let head = format!("PUT /v1/jobs/held-{number} HTTP/1.1\r\nhost: {address}\r\n");
        write!(stream, "{head}content-length: {length}\r\nexpect: 100-continue\r\n\r\n").ok()?;
        // The interim answer shows that the connection is served.
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).ok()?;
        (&interim == b"HTTP/1.1 100 Continue\r\n\r\n").then_some(Self(stream))
    }

    /// The status and the body of an answer that says how long it is.
    fn read_bytes(&mut self) -> (u16, Vec<u8>) {
        let mut bytes = Vec::new();
        loop {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
            if bytes.ends_with(b"\r\n\r\n") {
                break;
            }
        }
        let head = String::from_utf8(bytes).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        (head[9..12].parse().unwrap(), body)
    }

    fn read_answer(&mut self) -> (u16, Value) {
        let (status, body) = self.read_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn finish(&mut self) -> (u16, Value) {
        self.0.write_all(UPDATE.as_bytes()).unwrap();
        self.read_answer()
    }

    fn ask(&mut self, line: &str) -> (u16, Value) {
        self.send(line);
        self.read_answer()
    }

    /// The status and the bytes of a backup, which needs a file that was not open before.
    fn back_up(&mut self) -> (u16, Vec<u8>) {
        self.send("GET /v1/backup");
        self.read_bytes()
    }

    fn send(&mut self, line: &str) {
        write!(self.0, "{line} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    }
}

/// The least limit under which a process can open nothing more: the first number that no file has.
fn first_free(server: &Server) -> u64 {
    let files = format!("/proc/{}/fd", server.pid().as_raw_nonzero());
    let is_free = |number: &u64| !std::path::Path::new(&format!("{files}/{number}")).is_symlink();
    (0..).find(is_free).unwrap()
}

/// Lets the server have `files` files from now on. Nobody may raise the hard limit it inherits.
fn set_limit(server: &Server, files: u64, maximum: Option<u64>) -> Rlimit {
    let limit = Rlimit { current: Some(files), maximum };
    prlimit(Some(server.pid()), Resource::Nofile, limit).unwrap()
}

#[test]
fn a_thousand_clients_take_no_file_of_the_store() {
    let site = Site::new(&["--fold-interval=100ms", "--body-timeout=10m"]);
    let server = site.start_as(limited(&site, 256));
    assert!(site.log().contains("connections=128"), "{}", site.log());
    let address = server.address().to_owned();
    let mut held: Vec<Holder> = Vec::new();
    for number in 0..1_000 {
        held.extend(Holder::new(&address, number));
    }
    assert_eq!(held.len(), 128, "as many as fit are served");
    let mut one = held.pop().unwrap();
    let (status, answer) = one.finish();
    assert_eq!((status, &answer["durable"]), (200, &Value::Bool(true)), "{answer}");
    assert_eq!(one.ask("POST /v1/flush").0, 200);
    eventually("the update is folded", || {
        let (status, stats) = one.ask("GET /v1/stats");
        assert_eq!(status, 200, "{stats}");
        let files = stats["process"]["open_files"].as_u64().unwrap();
        assert!(files + 64 <= 256, "{files} files are open, none are left for the store");
        (stats["fold"]["count"].as_u64() >= Some(1)).then_some(())
    });
    // Before the backup, whose file is closed some time after its last byte came.
    let files = first_free(&server);
    let (status, backup) = one.back_up();
    assert!(status == 200 && !backup.is_empty(), "{status} {}", backup.len());
    // The control: with no file left, it says so.
    set_limit(&server, files, Some(256));
    let (status, problem) = one.back_up();
    set_limit(&server, 256, Some(256));
    let problem: Value = serde_json::from_slice(&problem).unwrap();
    assert_eq!((status, &problem["code"]), (503, &"storage_failed".into()), "{problem}");
    assert!(site.log().contains("os error 24"), "{}", site.log());
    assert_eq!(one.back_up().0, 200);
    for mut other in held {
        assert_eq!(other.finish().0, 200);
    }
    let (_, counts) = one.ask("GET /v1/counts");
    assert_eq!(counts["total"], 128);
    drop(one);
    assert!(server.stop().success());
    assert!(!site.log().contains("accept_failed"), "{}", site.log());
}

#[test]
fn a_limit_without_room_for_connections_is_refused_at_the_start() {
    let site = Site::new(&[]);
    let output = limited(&site, 100).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("only 100 files may be open") && said.contains("ulimit -n"), "{said}");
    assert!(!site.data().exists(), "nothing was made");
}

/// The limit falls while the server runs, as no start would allow it.
#[test]
fn a_server_without_files_waits_for_one_and_answers_then() {
    let site = Site::new(&[]);
    let server = site.start();
    let files = server.http.get("/v1/stats").ok()["process"]["open_files"].as_u64().unwrap();
    let before = set_limit(&server, files, getrlimit(Resource::Nofile).maximum);
    let mut waiting: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            write!(stream, "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
            stream
        })
        .collect();
    eventually("it says so", || site.log().contains("accept_failed").then_some(()));
    prlimit(Some(server.pid()), Resource::Nofile, before).unwrap();
    for stream in &mut waiting {
        let mut begin = [0; 15];
        stream.read_exact(&mut begin).unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200 OK");
    }
    assert!(server.stop().success());
    assert_eq!(site.log().matches("accept_failed").count(), 1, "{}", site.log());
}

/// Whatever the mask of whoever starts it, and also what is made by folds, a kill and a restart.
#[test]
fn every_file_of_the_store_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new(&["--fold-interval=100ms"]);
    for round in 0..2 {
        let server = site.start_as(limited(&site, 1_024));
        assert_eq!(server.http.put(&format!("job-{round}"), "", UPDATE).unwrap().status, 200);
        eventually("the update is folded", || {
            let stats = server.http.get("/v1/stats").ok();
            (stats["fold"]["count"].as_u64() >= Some(1)).then_some(())
        });
        server.kill();
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(site.data()), 0o700);
        let files: Vec<_> = std::fs::read_dir(site.data()).unwrap().map(|it| it.unwrap()).collect();
        assert!(files.len() >= 4, "{files:?}");
        for file in files {
            assert_eq!(mode(file.path()), 0o600, "{file:?}");
        }
    }
}
