//! A record batch: accepted exactly when a second, naive decoder accepts it, with the same records; and what is
//! accepted can be built again.
#![no_main]

use krappy_fuzz::{memory, naive};
use krappy_wire::batch::{self, Builder, Header, Records};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|input: &[u8]| {
    let checked = memory::bounded(input.len(), || batch::check(input));
    assert_eq!(checked.is_ok(), naive::acceptable(input).is_some(), "{checked:?}");
    // A prefix is never a batch, and what follows a batch is not part of it.
    if let Ok(header) = Header::read(input)
        && let Ok((_, first)) = batch::first(input)
    {
        assert_eq!(first.len(), header.size());
        assert!(batch::first(&input[..header.size() - 1]).is_err());
    }
    let Ok(header) = checked else { return };

    let walked = memory::bounded(input.len(), || batch::check_records(input));
    if header.codec() != 0 {
        assert!(walked.is_ok() && Records::new(input).is_err(), "compressed records are not looked at");
        return;
    }
    let naive = naive::records(input);
    assert_eq!(walked.is_ok(), naive.is_some(), "{walked:?}");
    let Some(naive) = naive else { return };

    let mut rebuilt = Vec::new();
    let mut builder = Builder::open(&mut rebuilt, header.base_timestamp);
    for record in Records::new(input).expect("not compressed") {
        let record = record.expect("walked before");
        let headers: Vec<_> = record.headers().collect();
        builder.push(&mut rebuilt, record.timestamp, record.key, record.value, headers.into_iter());
    }
    builder.close(&mut rebuilt, header.base_offset, header.leader_epoch, None);
    assert!(batch::check(&rebuilt).is_ok() && batch::check_records(&rebuilt).is_ok());
    assert_eq!(naive::records(&rebuilt).as_ref(), Some(&naive));
    assert_eq!(copied(input), naive);
});

// Most mutations end at the checksum, so three of four get it mended.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    if !seed.is_multiple_of(4) {
        naive::repair(&mut data[..size]);
    }
    size
});

/// The records as the real decoder sees them.
fn copied(bytes: &[u8]) -> Vec<naive::Record> {
    let records = Records::new(bytes).expect("not compressed").map(|r| r.expect("walked before"));
    records
        .map(|r| naive::Record {
            offset: r.offset,
            timestamp: r.timestamp,
            key: r.key.map(<[u8]>::to_vec),
            value: r.value.map(<[u8]>::to_vec),
            headers: r.headers().map(|(n, v)| (n.to_vec(), v.map(<[u8]>::to_vec))).collect(),
        })
        .collect()
}
