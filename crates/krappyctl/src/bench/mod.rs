//! `bench`: the machine's limits, the broker's workloads, and both side by side. Written against the wire format and
//! raw sockets, so that the measuring costs little and is the same for limits and broker.

pub mod args;
mod conns;
mod consume;
mod driver;
mod keyed;
mod latency;
mod limits;
mod peer;
mod produce;
mod report;
mod stats;
mod sys;
mod target;

use crate::args::Global;
use crate::failure::Failure;
use crate::out::{Out, talk};
use crate::signal;
use args::BenchCommand;

pub fn run(global: &Global, command: &BenchCommand, out: &mut Out) -> Result<(), Failure> {
    // Also in the other process, which Ctrl-C reaches as well: it is to end with its input and remove its file.
    signal::watch();
    let measures = match command {
        BenchCommand::Limits(args) => limits::run(args)?,
        BenchCommand::Produce(args) => produce::run(global, args)?,
        BenchCommand::Consume(args) => consume::run(global, args)?,
        BenchCommand::Latency(args) => latency::run(global, args)?,
        BenchCommand::Keyed(args) => keyed::run(global, args)?,
        BenchCommand::Conns(args) => conns::run(global, args)?,
        BenchCommand::Report(args) => {
            if !global.quiet {
                talk(&format!("this takes {} or more", crate::units::duration(report::expected(args))));
            }
            return report::run(global, args, out);
        }
        BenchCommand::Peer(args) => return peer::run(args),
    };
    stats::print(&measures, global.format(), out)
}
