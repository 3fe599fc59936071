//! The checksum at the end of each part of a run file.
//!
//! Invariant: it covers the number of the run and the place in the file as well, so that a part of another file, or of
//! another place, does not pass.

/// Bytes of a seal.
pub const SEAL: usize = 4;

/// Appends the seal of `bytes[from..]`, which will lie at `position` in the run with this number.
pub fn seal(bytes: &mut Vec<u8>, from: usize, number: u64, position: u64) {
    let crc = checksum(&bytes[from..], number, position);
    bytes.extend_from_slice(&crc.to_be_bytes());
}

/// The bytes before the seal, if it is theirs.
pub fn unseal(bytes: &[u8], number: u64, position: u64) -> Option<&[u8]> {
    let (content, seal) = bytes.split_last_chunk::<SEAL>()?;
    (checksum(content, number, position).to_be_bytes() == *seal).then_some(content)
}

fn checksum(content: &[u8], number: u64, position: u64) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&number.to_be_bytes());
    place[8..].copy_from_slice(&position.to_be_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&place);
    crc.update(content);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_for_its_bytes_in_their_place_only() {
        let mut bytes = b"..content".to_vec();
        seal(&mut bytes, 2, 42, 100);
        let sealed = &bytes[2..];
        assert_eq!(unseal(sealed, 42, 100), Some(&b"content"[..]));
        assert_eq!((unseal(sealed, 43, 100), unseal(sealed, 42, 101)), (None, None));
        for cut in 0..sealed.len() {
            assert_eq!(unseal(&sealed[..cut], 42, 100), None);
        }
    }
}
