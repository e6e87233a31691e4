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
        is_for_no_browser(&answer);
    }
    let known = server.call(get, "/v1/jobs/a", &[("if-none-match", &tag)], "").await;
    is_for_no_browser(&known);
}

#[track_caller]
fn is_for_no_browser(answer: &Answered) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), value, "{answer:?}");
    }
    let names: Vec<&str> = answer.headers.keys().map(|name| name.as_str()).collect();
    assert!(!names.iter().any(|name| name.starts_with("access-control-")), "{names:?}");
}

/// What a page can send to another site without asking it first: `POST` of these types, and `GET`.
#[tokio::test]
async fn what_a_form_can_send_is_no_write() {
    let server = Server::new();
    let update = r#"{"job_id":"a","status":"queued"}"#;
    for media in [
        "text/plain",
        "text/plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain, application/json",
        "application/json-seq",
        "",
    ] {
        for uri in ["/v1/updates", "/v1/lookup"] {
            let headers = [("content-type", media)];
            let answer = server.call(Method::POST, uri, &headers, update).await;
            answer.problem(415, "unsupported_media_type");
        }
        let headers = [("content-type", media)];
        let answer = server.call(Method::POST, "/v1/prune?keep=1", &headers, "a=b").await;
        if !media.is_empty() {
            answer.problem(415, "unsupported_media_type");
        }
    }
    for uri in ["/v1/jobs/a", "/v1/jobs/a?", "/v1/pipelines/a"] {
        for media in ["text/plain", "multipart/form-data; boundary=x"] {
            let answer = server.call(Method::PUT, uri, &[("content-type", media)], UPDATE).await;
            assert_eq!(answer.problem(415, "unsupported_media_type")["outcome"], "not_applied");
        }
    }
    assert_eq!(server.get("/v1/counts").await.json(200)["as_of_seq"], 0);
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
