//! Placeholder.
/// A read-only view of a file's bytes.
#[derive(Debug)]
pub struct Map;
impl std::ops::Deref for Map {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &[]
    }
}
