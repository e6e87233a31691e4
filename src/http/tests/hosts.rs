//! What a page of another site can make a browser send, and what every answer says to a browser.

use serde_json::json;

use super::*;
use crate::http::Hosts;

const UPDATE: &str = r#"{"status":"queued"}"#;

/// A job, without a query and with one.
const WAYS: [&str; 2] = ["/v1/jobs/a", "/v1/jobs/a?"];

#[tokio::test]
async fn no_way_to_a_handler_leads_past_the_checks() {
    let server = Server::new();
    server.put("/v1/jobs/a", UPDATE).await.json(200);
    for (refused, status, code) in [
        (("host", "evil.example"), 421, "misdirected_request"),
        (("origin", "https://evil.example"), 403, "foreign_origin"),
        (("origin", "null"), 403, "foreign_origin"),
        (("transfer-encoding", "gzip, chunked"), 400, "malformed_request"),
    ] {
        for (way, method) in WAYS.iter().flat_map(|way| [(way, Method::GET), (way, Method::PUT)]) {
            let answer = server.call(method.clone(), way, &[JSON, refused], UPDATE).await;
            let problem = answer.problem(status, code);
            let outcome = (method == Method::PUT).then(|| json!("not_applied"));
            assert_eq!(problem.get("outcome"), outcome.as_ref(), "{method} {way} {refused:?}");
            assert_eq!(problem["retryable"], false);
        }
        for uri in ["/v1/updates", "/v1/lookup", "/v1/flush", "/livez", "/readyz", "/nowhere"] {
            let answer = server.call(Method::POST, uri, &[JSON, refused], "{}").await;
            assert_eq!(answer.problem(status, code)["outcome"], "not_applied", "{uri}");
        }
    }
    assert_eq!(server.get("/v1/counts").await.json(200)["as_of_seq"], 1);
}

/// The control: the same calls are taken where the host is allowed, so it is the host that decides.
#[tokio::test]
async fn the_same_calls_are_taken_from_allowed_hosts() {
    let hosts = Hosts::new("127.0.0.1".parse().unwrap(), vec!["evil.example".to_owned()]);
    let options = HttpOptions { hosts, ..HttpOptions::default() };
    let server = Server::with(ServiceOptions::default(), options);
    for allowed in [("host", "evil.example"), ("origin", "https://evil.example")] {
        for way in WAYS {
            server.call(Method::PUT, way, &[JSON, allowed], UPDATE).await.json(200);
            server.call(Method::GET, way, &[allowed], "").await.json(200);
        }
    }
    assert_eq!(server.get("/v1/counts").await.json(200)["as_of_seq"], 4);
}

#[tokio::test]
async fn every_answer_tells_a_browser_to_do_nothing_with_it() {
    let server = Server::new();
    server.put("/v1/jobs/a", UPDATE).await.json(200);
    let tag = server.get("/v1/jobs/a").await.header("etag").to_owned();
    let get = Method::GET;
    for (method, uri, header, status) in [
        (Method::PUT, "/v1/jobs/a", JSON, 200),
        (Method::PUT, "/v1/jobs/a?", JSON, 200),
        (get.clone(), "/v1/jobs/a", JSON, 200),
        (get.clone(), "/v1/jobs/a?", JSON, 200),
        (get.clone(), "/v1/jobs/b", JSON, 404),
        (get.clone(), "/v1/jobs?format=csv", JSON, 200),
        (get.clone(), "/v1/jobs?format=ndjson", JSON, 200),
        (get.clone(), "/v1/updates?after=0", JSON, 200),
        (get.clone(), "/openapi.json", JSON, 200),
        (get.clone(), "/livez", JSON, 200),
        (get.clone(), "/nowhere", JSON, 404),
        (get.clone(), "/v1/jobs/a", ("host", "evil.example"), 421),
        (Method::OPTIONS, "/v1/jobs/a", ("origin", "http://localhost"), 405),
        (Method::DELETE, "/v1/jobs/a", JSON, 200),
        (Method::PUT, "/v1/jobs/a", ("content-type", "text/plain"), 415),
        (Method::POST, "/v1/updates", JSON, 200),
    ] {
        let body =
            if uri == "/v1/updates" { r#"{"job_id":"a","status":"queued"}"# } else { UPDATE };
        let body = if method == Method::DELETE { "" } else { body };
        let answer = server.call(method, uri, &[header], body).await;
        assert_eq!(answer.status.as_u16(), status, "{uri}: {}", answer.text);
        assert_eq!(faults(&answer), [""; 0], "{uri}: {answer:?}");
    }
    let known = server.call(get, "/v1/jobs/a", &[("if-none-match", &tag)], "").await;
    assert_eq!(faults(&known), [""; 0], "{known:?}");
}

/// What every answer says to a browser.
const CARRIED: [(&str, &str); 5] = [
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The headers of an answer that are missing or say something else, and those that let a page of
/// another site read it.
fn faults(answer: &Answered) -> Vec<&str> {
    let is_other = |(name, value): &&(&str, &str)| answer.header(name) != *value;
    let carried = CARRIED.iter().filter(is_other).map(|(name, _)| *name);
    let names = answer.headers.keys().map(|name| name.as_str());
    carried.chain(names.filter(|name| name.starts_with("access-control-"))).collect()
}

/// The control: each header that is missing or changed is found, and one that shares.
#[tokio::test]
async fn what_lets_a_browser_use_an_answer_is_found() {
    let server = Server::new();
    for (name, _) in CARRIED {
        let mut answer = server.get("/livez").await;
        answer.headers.insert(name, "unsafe-none".parse().unwrap());
        assert_eq!(faults(&answer), [name]);
        answer.headers.remove(name);
        assert_eq!(faults(&answer), [name]);
    }
    for name in ["access-control-allow-origin", "access-control-allow-private-network"] {
        let mut answer = server.get("/livez").await;
        answer.headers.insert(name, "*".parse().unwrap());
        assert_eq!(faults(&answer), [name]);
    }
}

/// Calls that take a body, each with one that it takes.
const CALLS: [(Method, &str, &str); 6] = [
    (Method::POST, "/v1/updates", r#"{"job_id":"a","status":"queued"}"#),
    (Method::POST, "/v1/lookup", r#"{"job_ids":["a"]}"#),
    (Method::POST, "/v1/prune?keep=1", "a=b"),
    (Method::PUT, "/v1/jobs/a", UPDATE),
    (Method::PUT, "/v1/jobs/a?", UPDATE),
    (Method::PUT, "/v1/pipelines/a", r#"{"expected_total":1}"#),
];

/// What a page can send to another site without asking it first: `POST` of these types, and `GET`.
#[tokio::test]
async fn what_a_form_can_send_is_no_write() {
    let server = Server::new();
    for (method, uri, body) in CALLS {
        for media in [
            "text/plain",
            "text/plain; charset=utf-8",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "text/plain, application/json",
            "application/json-seq",
            "",
        ] {
            // No page may `PUT` unasked, so there a form is taken for JSON, as none named is; and a
            // prune needs no body.
            let is_taken = match method {
                Method::PUT => ["", "application/x-www-form-urlencoded"].contains(&media),
                _ => uri.starts_with("/v1/prune") && media.is_empty(),
            };
            if is_taken {
                continue;
            }
            let headers = [("content-type", media)];
            let answer = server.call(method.clone(), uri, &headers, body).await;
            let problem = answer.problem(415, "unsupported_media_type");
            assert!(uri == "/v1/lookup" || problem["outcome"] == "not_applied", "{uri}: {problem}");
        }
    }
    assert_eq!(server.get("/v1/counts").await.json(200)["as_of_seq"], 0);
}

/// The control: the same bodies are taken as what they are.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_form_cannot_send_is_taken() {
    let server = Server::new();
    for (method, uri, body) in CALLS {
        server.call(method, uri, &[JSON], body).await.json(200);
    }
    let before = server.get("/v1/counts").await.json(200)["as_of_seq"].as_u64().unwrap();
    assert!(before >= 3, "{before}");
    server.post("", LINES, CALLS[0].2).await.json(200);
    assert!(server.get("/v1/counts").await.json(200)["as_of_seq"].as_u64() > Some(before));
}

/// A picture in a page of another site sends no `Origin`, and its `Host` is ours.
#[tokio::test]
async fn what_another_site_embeds_is_refused_and_a_link_is_followed() {
    let server = Server::new();
    let embedded = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
    for uri in ["/v1/backup", "/v1/check", "/v1/counts", "/v1/jobs/a"] {
        let answer = server.call(Method::GET, uri, &embedded, "").await;
        answer.problem(403, "foreign_origin");
    }
    let followed = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    server.call(Method::GET, "/v1/counts", &followed, "").await.json(200);
    let own = [("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")];
    server.call(Method::GET, "/v1/counts", &own, "").await.json(200);
}

#[tokio::test]
async fn head_costs_no_read_of_the_whole_store() {
    let server = Server::new();
    for uri in ["/v1/backup", "/v1/check"] {
        let answer = server.call(Method::HEAD, uri, &[], "").await;
        assert_eq!(answer.status, 405, "{uri}");
    }
    assert_eq!(server.call(Method::HEAD, "/v1/counts", &[], "").await.status, 200);
}
