//! Small backups, whole and broken, each in a way of its own: what the fuzz target of backups
//! begins with. `JOBSLATE_WRITE_FIXTURE=1` writes them to its corpus anew.

use super::*;

type Writer<'a> = write::BackupWriter<&'a mut Vec<u8>>;

/// Some bytes, and whether a reader takes them with checksums and without.
struct Seed {
    name: &'static str,
    bytes: Vec<u8>,
    is_whole: bool,
    is_trusted: bool,
}

fn written(
    header: &crate::store::redb::codec::BackupHeader<'_>,
    fill: impl Fn(&mut Writer<'_>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = write::BackupWriter::new(&mut bytes, header).unwrap();
    fill(&mut writer);
    writer.finish().unwrap();
    bytes
}

/// All tables, with these rows in each.
fn all_tables(writer: &mut Writer<'_>, rows: &[(&[u8], &[u8])]) {
    for name in table_names() {
        writer.table(&name).unwrap();
        rows.iter().for_each(|(key, value)| writer.row(key, value).unwrap());
    }
}

fn seeds() -> Vec<Seed> {
    let header = codec_header();
    let whole = |name, rows: &[(&[u8], &[u8])]| {
        let bytes = written(&header, |writer| all_tables(writer, rows));
        Seed { name, bytes, is_whole: true, is_trusted: true }
    };
    let broken = |name, bytes| Seed { name, bytes, is_whole: false, is_trusted: false };
    let filled = |name, fill: &dyn Fn(&mut Writer<'_>)| broken(name, written(&header, fill));
    let rows: &[(&[u8], &[u8])] = &[(b"a", b"value"), (b"b", b"")];
    let run = |writer: &mut Writer<'_>| {
        all_tables(writer, rows);
        writer.table("ids_0000000001").unwrap();
        writer.row(b"a", b"value").unwrap();
    };
    let sample = whole("rows", rows).bytes;
    let cut = sample[..sample.len() * 2 / 3].to_vec();
    let longer = [&*sample, b"x"].concat();
    let mut turned = sample.clone();
    // The checksum of the header's block.
    turned[MAGIC.len() + HEAD_BYTES - 1] ^= 1;
    let other = crate::store::redb::codec::BackupHeader { store_format: 9, ..header };
    vec![
        whole("empty", &[]),
        whole("rows", rows),
        whole("long-row", &[(b"a", &[7; 20_000])]),
        Seed { is_whole: true, is_trusted: true, ..filled("run", &run) },
        Seed { is_trusted: true, ..broken("turned-sum", turned) },
        filled("no-table", &|_| ()),
        filled("row-of-no-table", &|writer| writer.row(b"a", b"value").unwrap()),
        filled("falling-keys", &|writer| all_tables(writer, &[(b"b", b""), (b"a", b"")])),
        filled("key-twice", &|writer| all_tables(writer, &[(b"a", b""), (b"a", b"")])),
        filled("table-twice", &|writer| {
            all_tables(writer, rows);
            writer.table("meta").unwrap();
        }),
        filled("unknown-table", &|writer| {
            all_tables(writer, rows);
            writer.table("ids_1").unwrap();
        }),
        broken("other-format", written(&other, |writer| all_tables(writer, rows))),
        broken("cut", cut),
        broken("longer", longer),
    ]
}

#[test]
fn each_seed_of_the_fuzz_target_is_taken_or_refused_as_it_says() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/backup");
    for Seed { name, bytes, is_whole, is_trusted } in seeds() {
        assert_eq!(verify_backup(&*bytes).is_ok(), is_whole, "{name}");
        let trusted = BackupReader::trusting(&*bytes).and_then(BackupReader::drain);
        assert_eq!(trusted.is_ok(), is_trusted, "{name}: {trusted:?}");
        assert!(bytes.len() < 4_096, "{name}: {} bytes, libFuzzer would cut it", bytes.len());
        let file = corpus.join(format!("seed-{name}"));
        if std::env::var_os("JOBSLATE_WRITE_FIXTURE").is_some() {
            std::fs::write(&file, &bytes).unwrap();
        }
        assert!(file.exists(), "{name} is not in the corpus");
    }
}
