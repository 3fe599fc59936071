//! Record batches as Kafka's producers make them: compressed or not, with a producer's numbers or without.

use krappy::disk::sim::Rng;
use krappy_wire::batch::{self, HEADER, Header, ProducerSequence};
use krappy_wire::compress;

use super::super::content::Id;
use super::super::producer::prepared;

/// A codec by its number; 0 is none, which most batches have.
pub fn any_codec(rng: &mut Rng) -> i16 {
    let wanted = if rng.below(6) == 0 { 1 + rng.below(4) as i16 } else { 0 };
    if cfg!(feature = "compression") { wanted } else { 0 }
}

/// One batch with these records.
pub fn batch(ids: &[Id], timestamp: i64, codec: i16, by: Option<ProducerSequence>) -> Vec<u8> {
    let plain = prepared(ids, timestamp, by);
    if codec == 0 {
        return plain;
    }
    let mut header = Header::read(&plain).expect("it was made a moment ago");
    let mut packed = Vec::new();
    compress::pack(codec, &plain[HEADER..], &mut packed).expect("a codec of this build");
    header.set_codec(codec);
    let mut out = Vec::new();
    batch::with_records(&header, header.record_count, &packed, &mut out);
    out
}
