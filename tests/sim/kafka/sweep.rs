//! Exhaustive: one small run of Kafka clients, crashed at every storage call in several ways, and at some calls of the
//! start that follows.

use krappy::disk::sim::Crash;

use super::super::sweep::Swept;
use super::super::world::{Planned, run_crashed};

/// A seed that is left in peace, and has clients of both languages.
const SEED: u64 = 28;
/// Operations of each client.
const OPS: u32 = 40;

/// Crashes at every call; one start in `sample` is crashed as well.
pub fn crash_at_every_call(sample: u64) -> Swept {
    let mut swept = Swept::default();
    for call in 1.. {
        for how in [Crash::KeepAll, Crash::LoseAll, Crash::Random(call)] {
            let again = (swept.crashes % sample == 0).then_some(1 + swept.crashes / sample % 60);
            let Some(result) = run_crashed(SEED, OPS, Planned { call, how, again }) else {
                swept.calls = call - 1;
                return swept;
            };
            swept.crashes += 1;
            let found = match result {
                Ok(outcome) => {
                    swept.second_crashes += outcome.recovery_crashes;
                    Vec::new()
                }
                Err(found) => found,
            };
            let label = |what: String| format!("crash at call {call}, {how:?}, {again:?}: {what}");
            swept.found.extend(found.into_iter().map(label));
        }
    }
    unreachable!("a run makes a finite number of calls")
}
