//! The three sources over each other, what is refused and how, and the texts made from the table.

use std::ffi::OsString;
use std::io::Write;

use clap::{Args, FromArgMatches};

use super::*;
use crate::http::HttpOptions;

/// The layers of a file, an environment and flags.
fn layers(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Layers, ConfigError> {
    let mut on_disk = tempfile::NamedTempFile::new().unwrap();
    on_disk.write_all(file.as_bytes()).unwrap();
    let mut arguments = vec![OsString::from("serve")];
    if !file.is_empty() {
        arguments.extend(["--config".into(), on_disk.path().into()]);
    }
    arguments.extend(flags.iter().map(OsString::from));
    let command = ConfigFlags::augment_args(clap::Command::new("serve"));
    let matches = command.try_get_matches_from(arguments).unwrap();
    let flags = ConfigFlags::from_arg_matches(&matches).unwrap();
    let owned = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    Layers::read(&flags, environment.iter().map(owned))
}

fn config(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Config, String> {
    let layers = layers(file, environment, flags).map_err(|error| error.to_string())?;
    Config::from_layers(&layers).map_err(|error| error.to_string())
}

fn refusal(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> String {
    config(file, environment, flags).unwrap_err()
}

#[test]
fn a_flag_goes_over_the_environment_and_that_over_the_file() {
    let file = "batch_size = 10\nflush_interval = \"3s\"\nqueue_bytes_max = \"32MiB\"";
    let environment =
        [("JOBSLATE_BATCH_SIZE", "20"), ("JOBSLATE_FLUSH_INTERVAL", "4s"), ("PATH", "/bin")];
    let config = config(file, &environment, &["--batch-size", "30"]).unwrap();
    assert_eq!(config.service.batch_size, 30);
    assert_eq!(config.service.flush_interval.as_secs(), 4);
    assert_eq!(config.service.queue_bytes_max, 32 << 20);
    assert_eq!(config.service.queue_updates_max, 100_000);
}

#[test]
fn the_defaults_of_the_table_are_those_of_the_rooms() {
    let config = config("", &[], &[]).unwrap();
    let debug = |value: &dyn std::fmt::Debug| format!("{value:?}");
    assert_eq!(debug(&config.service), debug(&ServiceOptions::default()));
    assert_eq!(debug(&config.http), debug(&HttpOptions::default()));
    assert_eq!(debug(&config.log), debug(&LogOptions::default()));
    assert_eq!(config.listen.to_string(), "127.0.0.1:7411");
}

#[test]
fn a_value_out_of_range_names_key_value_range_and_place() {
    let flag = refusal("", &[], &["--batch-size", "0"]);
    assert_eq!(flag, "batch_size is 0, the range is 1 to 1000000 (flag --batch-size)");
    let variable = refusal("", &[("JOBSLATE_FLUSH_INTERVAL", "2h")], &[]);
    let expected = "flush_interval is 2h, the range is 1ms to 1h \
                    (environment JOBSLATE_FLUSH_INTERVAL)";
    assert_eq!(variable, expected);
    let file = refusal("\n\nbatch_bytes_max = -1", &[], &[]);
    assert!(file.starts_with("batch_bytes_max is \"-1\"; give bytes, such as 8MiB"), "{file}");
    assert!(file.ends_with(":3)"), "{file}");
    let huge = refusal("", &[], &["--cache-bytes", "9999TiB"]);
    assert!(huge.contains("cache_bytes is 9999TiB, the range is 1MiB to 1TiB"), "{huge}");
}

#[test]
fn a_value_that_is_none_says_what_to_write() {
    for (flags, message) in [
        (["--flush-interval", "2"], "give a duration with a unit, such as 2s"),
        (["--batch-size", "many"], "give a number"),
        (["--log-format", "xml"], "give text or json"),
        (["--listen", "7411"], "give an IP address and a port"),
        (["--log-level", "info,=x=y"], "give error, warn, info"),
        (["--kinds", "ocr"], "give word=kind"),
        (["--kinds", "ocr=busy"], "give one of the kinds waiting, running"),
        (["--kinds", "o c r=running"], "give a word"),
        (["--data-dir", ""], "give a directory"),
        (["--allowed-hosts", "a.example:80"], "give names or addresses without ports"),
        (["--allowed-hosts", "*"], "give names or addresses without ports"),
    ] {
        let refusal = refusal("", &[], &flags);
        assert!(refusal.contains(message), "{flags:?}: {refusal}");
    }
}

#[test]
fn a_request_must_fit_a_batch_and_a_batch_the_queue() {
    let refusal = |flags: &[&str]| refusal("", &[], flags);
    assert_eq!(
        refusal(&["--queue-updates-max", "100"]),
        "batch_updates_max is 10000 (default), but queue_updates_max is 100 \
         (flag --queue-updates-max): batch_updates_max must not be more than queue_updates_max"
    );
    assert!(refusal(&["--body-bytes-max", "9MiB"]).contains("batch_bytes_max is 8MiB"));
    assert!(refusal(&["--batch-bytes-max", "65MiB"]).contains("queue_bytes_max is 64MiB"));
    assert!(refusal(&["--batch-size", "100001"]).contains("queue_updates_max"));
}

#[test]
fn an_address_that_others_reach_is_refused_until_it_is_wanted() {
    let refusal = refusal("", &[("JOBSLATE_LISTEN", "0.0.0.0:80")], &[]);
    assert!(refusal.contains("listen is 0.0.0.0:80 (environment JOBSLATE_LISTEN)"), "{refusal}");
    assert!(refusal.contains("--insecure-listen"), "{refusal}");
    let open = |flags: &[&str]| config("", &[], flags).map(|config| config.listen.to_string());
    let wanted = ["--listen", "0.0.0.0:80", "--insecure-listen"];
    assert_eq!(open(&wanted), Ok("0.0.0.0:80".to_owned()));
    assert_eq!(open(&["--listen", "localhost:0"]), Ok("127.0.0.1:0".to_owned()));
    assert_eq!(open(&["--listen", "[::1]:7411"]), Ok("[::1]:7411".to_owned()));
    assert!(open(&["--listen", "[::]:7411", "--insecure-listen=false"]).is_err());
}

#[test]
fn kinds_of_the_file_change_what_words_mean() {
    let file = "strict_statuses = true\n[kinds]\nocr-pass = \"waiting\"\ndone = \"failed\"";
    let kinds = config(file, &[], &[]).unwrap().service.store.kinds;
    let kind = |word: &str| kinds.kind(Status::parse(word).unwrap());
    assert_eq!((kind("ocr-pass"), kind("done")), (Kind::Waiting, Kind::Failed));
    assert!(!kinds.is_allowed(Status::parse("whatever").unwrap()));
    let by_flag = config(file, &[], &["--kinds", "a=waiting, b=failed"]).unwrap();
    assert!(!by_flag.service.store.kinds.is_allowed(Status::parse("ocr-pass").unwrap()));
}

#[test]
fn a_variable_that_is_nearly_a_key_is_noticed_and_one_of_a_cluster_is_not() {
    let environment = [
        ("JOBSLATE_BATCHSIZE", "10"),
        ("JOBSLATE_PORT", "tcp://10.0.0.1:7411"),
        ("JOBSLATE_PORT_7411_TCP_ADDR", "10.0.0.1"),
        ("JOBSLATE_SERVICE_HOST", "10.0.0.1"),
        ("JOBSLATE_URL", "http://10.0.0.1:7411"),
    ];
    let layers = layers("", &environment, &[]).unwrap();
    let notice = "JOBSLATE_BATCHSIZE is ignored; did you mean JOBSLATE_BATCH_SIZE?";
    assert_eq!(layers.notices(), [notice]);
}

#[test]
fn the_effective_configuration_reads_back_as_itself() {
    let environment = [("JOBSLATE_STRICT_STATUSES", "1"), ("JOBSLATE_LOG_FILE", "/tmp/\"x\".log")];
    let flags = ["--kinds", "a=waiting,b.c=failed", "--feed-age-max", "36h", "--log-level", "warn"];
    let first = layers("", &environment, &flags).unwrap();
    let text = effective_toml(&first).unwrap();
    let second = layers(&text, &[], &[]).unwrap();
    let debug = |layers: &Layers| format!("{:?}", Config::from_layers(layers).unwrap());
    assert_eq!(debug(&first), debug(&second), "{text}");
    assert!(text.contains("# flag --feed-age-max"), "{text}");
    let json = effective_json(&first).unwrap();
    assert_eq!(json["feed_age_max"]["value"], 36 * 3_600_000);
    assert_eq!(json["batch_bytes_max"]["value"], 8 << 20);
    assert_eq!(json["strict_statuses"]["value"], true);
    assert_eq!(json["kinds"]["value"], serde_json::json!({"a": "waiting", "b.c": "failed"}));
    assert_eq!(json["log_level"]["origin"], "flag --log-level");
}

#[test]
fn the_sample_file_is_the_one_that_the_table_makes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/jobslate.toml");
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == sample(),
        "packaging/jobslate.toml is not what the keys say; write it again with \
         `cargo run -- config --sample > packaging/jobslate.toml`"
    );
}

#[test]
fn the_sample_is_valid_as_it_is_and_with_every_line_uncommented() {
    let default = format!("{:?}", config("", &[], &[]).unwrap());
    assert_eq!(format!("{:?}", config(&sample(), &[], &[]).unwrap()), default);
    let is_example = |line: &&str| !line.contains("/var/") && !line.contains("kinds");
    let uncommented: Vec<&str> = sample_lines()
        .filter(is_example)
        .filter(|line| !line.starts_with("ocr-pass") && !line.starts_with("parked"))
        .collect();
    assert_eq!(uncommented.len(), keys::ALL.len() - 3, "{uncommented:#?}");
    let uncommented = uncommented.join("\n");
    assert_eq!(format!("{:?}", config(&uncommented, &[], &[]).unwrap()), default);
    let everything = sample_lines().collect::<Vec<_>>().join("\n");
    assert!(config(&everything, &[], &[]).is_ok(), "{everything}");
}

/// The lines of the sample that are keys, without their comment sign.
fn sample_lines() -> impl Iterator<Item = &'static str> {
    let text: &'static str = sample().leak();
    text.lines().filter(|line| !line.starts_with("# ")).filter_map(|line| line.strip_prefix('#'))
}

#[test]
fn every_key_is_in_the_markdown_table_and_in_the_flags() {
    let command = ConfigFlags::augment_args(clap::Command::new("serve"));
    let table = markdown();
    for key in keys::ALL {
        assert!(table.contains(&format!("| `{}` |", key.name)), "{}", key.name);
        assert!(command.get_arguments().any(|arg| arg.get_long() == Some(&key.flag())));
    }
    assert!(table.lines().all(|line| line.matches('|').count() == 6), "{table}");
}

#[test]
fn the_reserve_of_the_disk_holds_what_was_accepted() {
    assert!(config("", &[], &["--disk-reserve", "192MiB"]).is_ok());
    let refusal = refusal("", &[], &["--disk-reserve", "191MiB"]);
    assert!(refusal.contains("disk_reserve is 191MiB"), "{refusal}");
    assert!(refusal.contains("give at least 192MiB"), "{refusal}");
    let less =
        ["--disk-reserve", "100MiB", "--queue-bytes-max", "8MiB", "--tail-bytes-max", "8MiB"];
    assert!(config("", &[], &less).is_ok());
}
