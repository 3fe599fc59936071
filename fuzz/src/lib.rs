//! What the fuzz targets share: [`memory`] holds every input to its allocation budget, [`naive`] decodes record batches
//! a second time and independently, and [`seeds`] makes the corpus that fuzzing starts from.

pub mod memory;
pub mod naive;
pub mod seeds;
