//! What a client chooses never stands raw in a header of an answer: ids, statuses, pipelines and
//! queries with bytes that end a line, are no ASCII, or turn the direction of a text.

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::json;

use crate::http::{Call, Http, Reply};
use crate::server::Site;

/// Names that a job and a pipeline may have.
const NAMES: [&str; 4] =
    ["gr\u{fc}n \u{1f600}", "a\u{202e}b\u{2028}c", "\"<x>;rel=next, \\", "%0d%0aX-Forged: 1"];
/// Texts that are none.
const TRICKS: [&str; 2] = ["a\r\nX-Forged: 1\r\n\r\nbody", "b\u{0}\u{7f}\u{9b}1m"];

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The headers that are not plain, or that no answer of ours has.
fn odd(headers: &HeaderMap) -> Vec<String> {
    let is_odd = |(name, value): &(&reqwest::header::HeaderName, &HeaderValue)| {
        let bytes = value.as_bytes();
        let is_plain = bytes.iter().all(|byte| (0x20..0x7f).contains(byte));
        !is_plain || name.as_str() == "x-forged" || bytes.windows(8).any(|it| it == b"<x>;rel=")
    };
    headers.iter().filter(is_odd).map(|header| format!("{header:?}")).collect()
}

fn send(http: &Http, method: Method, path: &str, body: &str) -> Reply {
    let headers = &[("content-type", "application/json")];
    let reply = http.try_send(Call { method, path, headers, body: body.into() }).unwrap();
    assert_eq!(odd(&reply.headers), [""; 0], "{path}");
    reply
}

#[test]
fn names_with_odd_bytes_stand_raw_in_no_header() {
    let site = Site::new(&[]);
    let server = site.start();
    let get = |path: &str| send(&server.http, Method::GET, path, "");
    for name in NAMES {
        for (number, status) in ["queued", "error"].into_iter().enumerate() {
            let job = json!({"job_id": format!("{name}{number}"), "status": status,
                "pipeline": &name[..name.len().min(40)], "error": TRICKS[0]});
            let reply = send(&server.http, Method::POST, "/v1/updates", &job.to_string());
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
        let name = escaped(name);
        for path in ["/v1/jobs/{}0", "/v1/jobs/{}0/history", "/v1/pipelines/{}"] {
            assert_eq!(get(&path.replace("{}", &name)).status, 200, "{path} {name}");
        }
        // The address of the next page repeats the question: escaped, and so that it is obeyed.
        let first = get(&format!("/v1/jobs?limit=1&prefix={name}&pipeline={name}"));
        assert_eq!(first.ok()["jobs"].as_array().unwrap().len(), 1);
        let link = first.header("link");
        let next = link.strip_prefix('<').and_then(|link| link.split_once('>')).expect(link).0;
        let second = get(&format!("/v1/jobs{next}"));
        assert_eq!(second.ok()["jobs"].as_array().unwrap().len(), 1, "{next}");
    }
}

#[test]
fn texts_that_are_refused_stand_raw_in_no_header() {
    let site = Site::new(&[]);
    let server = site.start();
    for trick in TRICKS.map(escaped) {
        for path in [
            "/v1/jobs/{}",
            "/v1/jobs/{}/history",
            "/v1/jobs?status={}",
            "/v1/jobs?kind={}",
            "/v1/jobs?prefix={}&limit=1",
            "/v1/jobs?cursor={}",
            "/v1/jobs?format={}",
            "/v1/pipelines/{}",
            "/v1/pipelines?after={}",
            "/v1/updates?after={}",
            "/v1/timeline?step={}",
            "/{}",
        ] {
            let path = path.replace("{}", &trick);
            send(&server.http, Method::GET, &path, "");
            send(&server.http, Method::DELETE, &path, "");
            send(&server.http, Method::PUT, &path, r#"{"status":"queued"}"#);
        }
    }
    for trick in TRICKS {
        for field in ["job_id", "status", "pipeline", "if_status", "at"] {
            let mut update = json!({"job_id": "a", "status": "queued"});
            update[field] = trick.into();
            let reply = send(&server.http, Method::POST, "/v1/updates", &update.to_string());
            assert_eq!(reply.status, 422, "{field}: {}", reply.text);
        }
    }
    assert_eq!(server.http.get("/readyz").status, 200);
}

/// The control: headers that a careless server would send.
#[test]
fn an_odd_header_is_found() {
    let of = |name: &'static str, value: &[u8]| {
        let value = HeaderValue::from_bytes(value).unwrap();
        odd(&HeaderMap::from_iter([(reqwest::header::HeaderName::from_static(name), value)])).len()
    };
    assert_eq!(of("link", b"</v1/jobs?prefix=gr%C3%BCn>; rel=\"next\""), 0);
    assert_eq!(of("link", "</v1/jobs?prefix=gr\u{fc}n>".as_bytes()), 1);
    assert_eq!((of("x-forged", b"1"), of("link", NAMES[2].as_bytes())), (1, 1));
}
