//! A backup as a client sees it.

use axum::body::HttpBody as _;
use axum::response::Response;

use super::*;
use crate::store::redb::verify_backup;

/// A server over a store on disk, with some jobs.
async fn server(directory: &tempfile::TempDir, reserve_bytes: u64) -> Server {
    let mut options = ServiceOptions::default();
    options.store.directory = directory.path().to_owned();
    options.store.disk_reserve_bytes = reserve_bytes;
    options.store.tail_jobs_max = 100;
    let service = Service::open(options, std::sync::Arc::new(|_| ())).unwrap();
    let server = Server::over(service, HttpOptions::default());
    server.post("", LINES, lines(200)).await.json(200);
    server
}

async fn begin(server: &Server) -> Response {
    let request =
        Request::get("/v1/backup").header("host", "localhost").body(Body::empty()).unwrap();
    app(server.gate.clone()).oneshot(request).await.unwrap()
}

/// A reserve that the disk has once, and not twice.
fn most_of_the_disk() -> u64 {
    let disk = rustix::fs::statvfs(std::env::temp_dir()).unwrap();
    disk.f_bavail * disk.f_frsize / 4 * 3
}

#[tokio::test]
async fn a_backup_is_whole_has_a_name_and_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(&directory, 0).await;
    let response = begin(&server).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "application/octet-stream");
    assert_eq!(headers["as-of-seq"], "200");
    let name = headers["content-disposition"].to_str().unwrap();
    assert!(name.starts_with("attachment; filename=\"jobslate-20"), "{name}");
    assert!(name.ends_with("Z.backup\""), "{name}");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(headers["content-length"], bytes.len().to_string());
    let summary = verify_backup(&*bytes).unwrap();
    assert_eq!((summary.jobs, summary.as_of_seq), (200, 200));
    let mut names: Vec<_> =
        directory.path().read_dir().unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["LOCK", "STORE", "journal.redb", "tables.redb"]);
}

/// A client that takes nothing of its backup, while the store folds again and again.
#[tokio::test]
async fn a_slow_client_holds_no_moment_of_the_store_and_the_place_of_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(&directory, 0).await;
    let slow = begin(&server).await;
    assert_eq!(slow.status(), 200);
    let stats = async || server.get("/v1/stats").await.json(200);
    let folds = async || stats().await["fold"]["count"].as_u64().unwrap();
    let before = folds().await;
    while folds().await < before + 5 {
        server.post("", LINES, lines(150)).await.json(200);
    }
    assert_eq!(stats().await["files"]["moments_held"], 1);
    let problem = server.get("/v1/backup").await;
    assert_eq!(problem.problem(429, "backup_running")["retryable"], true);
    assert_eq!(problem.header("retry-after"), "1");
    assert!(!slow.into_body().is_end_stream(), "it was not read");
    let next = begin(&server).await;
    assert_eq!(next.status(), 200, "the place is free once the client has gone");
}

#[tokio::test]
async fn a_backup_that_does_not_fit_is_507_and_hurts_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(&directory, most_of_the_disk()).await;
    for _ in 0..2 {
        let problem = server.get("/v1/backup").await;
        assert_eq!(problem.problem(507, "storage_full")["retryable"], true);
        assert_eq!(problem.header("retry-after"), "10");
    }
    server.post("", LINES, lines(10)).await.json(200);
}

#[tokio::test]
async fn a_store_in_memory_has_no_backup() {
    Server::new().get("/v1/backup").await.problem(503, "storage_failed");
    Server::new().get("/v1/backup?from=1").await.problem(400, "invalid_query");
}
