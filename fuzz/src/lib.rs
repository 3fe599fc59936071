//! What the fuzz targets share: [`memory`] holds every input to its allocation budget, [`naive`] decodes record batches
//! a second time and independently, [`image`] and [`crash`] turn bytes into the files of a partition, [`reread`] opens
//! and reads them, and [`seeds`] makes the corpus that fuzzing starts from.

pub mod crash;
pub mod image;
pub mod memory;
pub mod naive;
pub mod reread;
pub mod seeds;
