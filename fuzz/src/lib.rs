//! What the fuzz targets share: [`memory`] holds every input to its allocation budget, [`naive`] decodes record batches
//! a second time and independently, [`image`] turns bytes into the files of a partition, and [`seeds`] makes the corpus
//! that fuzzing starts from.

pub mod image;
pub mod memory;
pub mod naive;
pub mod seeds;
