//! `docs/FORMATS.md` against the code: the files that the page shows byte by byte are the ones that are written today.
//!
//! A difference here means that files of earlier versions are not read any more, or that the page is wrong.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use krappy::disk::sim::SimDisk;
use krappy::disk::{Disk, read_file};
use krappy::lsm::{Edit, Entry, Kind, Manifest, RunMeta, RunWriter};
use krappy::segment::{Appended, Log, LogSettings};
use krappy_wire::batch::Builder;

const VIEW: &str = "/view";

#[test]
fn the_page_shows_the_bytes_of_a_run_and_of_a_manifest() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let manifest = Manifest::create(disk.clone(), Path::new(VIEW).into(), 0).unwrap();
    let run = write_run(&*disk);
    manifest.apply(&Edit { covered: Some(8), added: vec![(0, run)], ..Edit::default() }).unwrap();

    for (shown, file) in [("run", "000042.run"), ("manifest", "MANIFEST-000001")] {
        let bytes = read_file(&*disk, &Path::new(VIEW).join(file)).unwrap();
        let page = on_the_page(shown);
        assert!(page == bytes, "```hex {shown} in docs/FORMATS.md has to be:\n{}", hex(&bytes));
    }
}

#[test]
fn the_page_shows_the_file_of_the_epochs() {
    let dir = Path::new("/0");
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    Log::create(&*disk, dir).unwrap();
    let settings = LogSettings { segment_bytes: 1 << 20, segment_ms: 1 << 40, index_interval_bytes: 4096 };
    let (mut log, _) = Log::open(&disk, dir, true, None, &settings, &mut |_| {}).unwrap();
    for (epoch, records) in [(7, 4711), (9, 1)] {
        log.set_epoch(epoch);
        let (base_offset, mut batch) = (log.end_offset(), Vec::new());
        let mut builder = Builder::open(&mut batch, 0);
        (0..records).for_each(|_| builder.push(&mut batch, 0, None, Some(b""), std::iter::empty()));
        builder.close(&mut batch, base_offset, epoch, None);
        let (size, last_offset) = (batch.len() as u32, base_offset + records - 1);
        let appended = Appended { base_offset, last_offset, size, max_timestamp: 0 };
        log.append(&[IoSlice::new(&batch)], &[appended], &settings, 0).unwrap();
    }
    log.close().unwrap();
    let written = String::from_utf8(read_file(&*disk, &dir.join("epochs")).unwrap()).unwrap();
    let page = include_str!("../docs/FORMATS.md");
    assert!(page.contains(&format!("```\n{written}```")), "docs/FORMATS.md has to show:\n{written}");
}

fn write_run(disk: &dyn Disk) -> RunMeta {
    let mut writer = RunWriter::create(disk, Path::new(VIEW), 42).unwrap();
    for (key, seq, kind, value) in [
        (&b"apple"[..], 7, Kind::Put, &b"red"[..]),
        (b"apple", 4, Kind::Tombstone, b""),
        (b"apricot", 5, Kind::Put, b""),
    ] {
        writer.add(Entry { key, seq, kind, value }).unwrap();
    }
    writer.finish().unwrap()
}

/// The bytes in the fence with this name; behind two spaces, a line may say what it shows.
fn on_the_page(name: &str) -> Vec<u8> {
    let page = include_str!("../docs/FORMATS.md");
    let fence = page.split(&format!("```hex {name}\n")).nth(1).expect("the page has the fence");
    let lines = fence.split("```").next().unwrap_or_default().lines();
    let digits: String = lines.flat_map(|line| line.split("  ").next()).collect();
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(16).map(line).collect::<Vec<_>>().join("\n")
}
