//! `uniform`: everybody gets as many partitions as everybody else, and as few as possible move.
//!
//! Whatever a member was to have and still wants, it keeps. What nobody has goes to whoever has least. Then partitions
//! move from whoever has most to whoever has least, until nobody who could give one has two more than somebody who
//! could take it. So a member that comes takes no more than its share, and nothing else moves.
//!
//! Where all want the same topics this ends with everybody within one of everybody else. Where they do not, no single
//! move could make it more even, though a chain of moves might.
//!
//! Topics that the same members want are looked at together, so the work grows with the partitions and the members, and
//! not with their product.

use std::collections::{BTreeMap, BTreeSet};

use super::{Counts, Partitions, Subscriber, TopicId, TopicPartition, readers};

/// How often all topics are levelled, at most: each time makes it more even, and the first does nearly everything.
const ROUNDS: usize = 16;

/// See [`super::Assignor::Uniform`].
pub(super) fn assign(members: &[Subscriber<'_>], counts: &Counts) -> Vec<Partitions> {
    let mut shares = kept(members);
    let circles = circles(members, counts);
    for (readers, topics) in &circles {
        fill(&mut shares, readers, topics, counts);
    }
    for _ in 0..ROUNDS {
        let moved =
            circles.iter().map(|(readers, topics)| level(&mut shares, readers, topics)).sum::<usize>();
        if moved == 0 {
            break;
        }
    }
    shares
}

/// What members may keep: it is still there, they still want it, and nobody before them has it.
fn kept(members: &[Subscriber<'_>]) -> Vec<Partitions> {
    let mut taken = Partitions::new();
    let stays = |member: &Subscriber<'_>, p: &TopicPartition| {
        member.topics.get(&p.topic).is_some_and(|count| p.number < *count)
    };
    members
        .iter()
        .map(|m| m.before.iter().copied().filter(|p| stays(m, p) && taken.insert(*p)).collect())
        .collect()
}

/// Topics by the members that want them.
fn circles(members: &[Subscriber<'_>], counts: &Counts) -> BTreeMap<Vec<usize>, BTreeSet<TopicId>> {
    let mut circles: BTreeMap<Vec<usize>, BTreeSet<TopicId>> = BTreeMap::new();
    for topic in counts.keys() {
        circles.entry(readers(members, topic)).or_default().insert(*topic);
    }
    circles.remove(&Vec::new());
    circles
}

/// Gives what nobody has to whoever has least.
fn fill(shares: &mut [Partitions], readers: &[usize], topics: &BTreeSet<TopicId>, counts: &Counts) {
    let taken: Partitions = readers.iter().flat_map(|place| &shares[*place]).copied().collect();
    let mut by_load: BTreeSet<(usize, usize)> =
        readers.iter().map(|place| (shares[*place].len(), *place)).collect();
    for &topic in topics {
        let all = (0..counts[&topic]).map(|number| TopicPartition { topic, number });
        for partition in all.filter(|p| !taken.contains(p)) {
            let (load, place) = by_load.pop_first().expect("somebody wants it");
            shares[place].insert(partition);
            by_load.insert((load + 1, place));
        }
    }
}

/// Moves partitions of these topics from whoever has most to whoever has least, and says how many.
fn level(shares: &mut [Partitions], readers: &[usize], topics: &BTreeSet<TopicId>) -> usize {
    let mut takers: BTreeSet<(usize, usize)> =
        readers.iter().map(|place| (shares[*place].len(), *place)).collect();
    // Who has nothing of these topics cannot give. Of two with as many the younger gives.
    let mut givers = takers.clone();
    let mut moved = 0;
    while let (Some(&most), Some(&least)) = (givers.last(), takers.first()) {
        if most.0 <= least.0 + 1 {
            break;
        }
        let Some(partition) = last_of(&shares[most.1], topics) else {
            givers.remove(&most);
            continue;
        };
        shares[most.1].remove(&partition);
        shares[least.1].insert(partition);
        moved += 1;
        for ((load, place), now) in [(most, most.0 - 1), (least, least.0 + 1)] {
            takers.remove(&(load, place));
            takers.insert((now, place));
            if givers.remove(&(load, place)) || place == least.1 {
                givers.insert((now, place));
            }
        }
    }
    moved
}

/// The last partition of these topics in a share.
fn last_of(share: &Partitions, topics: &BTreeSet<TopicId>) -> Option<TopicPartition> {
    share.iter().rev().find(|p| topics.contains(&p.topic)).copied()
}

#[cfg(test)]
mod tests {
    use super::super::Assignor;
    use super::super::testing::{Crew, topic};
    use super::*;

    fn crew(sizes: &[i32]) -> Crew {
        Crew::new(Assignor::Uniform, sizes)
    }

    #[test]
    fn everybody_gets_as_many_as_everybody_else() {
        let mut crew = crew(&[7, 4]);
        crew.join(&[0, 1]);
        assert_eq!(crew.loads(), [11]);
        crew.join(&[0, 1]);
        assert_eq!(crew.loads(), [6, 5]);
        crew.join(&[0, 1]);
        assert_eq!(crew.loads(), [4, 4, 3]);
    }

    #[test]
    fn whoever_comes_takes_its_share_and_nothing_else_moves() {
        let mut crew = crew(&[40, 60]);
        for member in 1..12 {
            crew.members.push(([topic(0), topic(1)].into(), Partitions::new()));
            assert_eq!(crew.share_out(), 100 / member);
            assert_eq!(crew.share_out(), 0);
        }
    }

    #[test]
    fn what_somebody_leaves_goes_to_the_others_and_nothing_else_moves() {
        let mut crew = crew(&[100]);
        (0..10).for_each(|_| crew.join(&[0]));
        for left in (1..10).rev() {
            let (_, share) = crew.members.remove(left / 2);
            assert_eq!(crew.share_out(), share.len());
            let loads = crew.loads();
            assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{loads:?}");
        }
    }

    #[test]
    fn a_topic_that_grows_or_goes_moves_nothing_that_need_not() {
        let mut crew = crew(&[4, 4]);
        crew.join(&[0, 1]);
        crew.join(&[0, 1]);
        crew.counts.insert(topic(0), 6);
        assert_eq!(crew.share_out(), 2);
        assert_eq!(crew.loads(), [5, 5]);
        crew.counts.remove(&topic(1));
        crew.share_out();
        assert_eq!(crew.loads(), [3, 3]);
    }

    #[test]
    fn members_with_different_wishes_are_levelled_as_far_as_single_moves_go() {
        let mut crew = crew(&[6, 6]);
        crew.join(&[0, 1]);
        crew.join(&[0]);
        assert_eq!(crew.loads(), [6, 6]);
        crew.join(&[1]);
        let loads = crew.loads();
        assert_eq!(loads.iter().sum::<usize>(), 12);
        assert!(loads.iter().all(|load| (3..=5).contains(load)), "{loads:?}");
        // A topic that one member alone wants is not shared, and counts all the same.
        let mut crew = Crew::new(Assignor::Uniform, &[5, 5]);
        crew.join(&[0, 1]);
        crew.join(&[1]);
        assert_eq!(crew.loads(), [5, 5]);
    }

    #[test]
    fn members_with_random_wishes_get_everything_once_and_none_could_give_to_another() {
        let mut rng = crate::disk::sim::Rng::new(7);
        for _ in 0..300 {
            let sizes: Vec<i32> = (0..1 + rng.below(5)).map(|_| rng.below(12) as i32).collect();
            let mut crew = crew(&sizes);
            for _ in 0..1 + rng.below(8) {
                let wishes: Vec<u8> = (0..sizes.len() as u8).filter(|_| rng.chance(0.6)).collect();
                crew.join(&wishes);
                if crew.members.len() > 3 && rng.chance(0.3) {
                    crew.members.remove(rng.below(3) as usize);
                    crew.share_out();
                }
            }
            let loads = crew.loads();
            for (giver, (_, share)) in crew.members.iter().enumerate() {
                for (taker, (wishes, _)) in crew.members.iter().enumerate() {
                    let could = share.iter().any(|p| wishes.contains(&p.topic));
                    assert!(!could || loads[giver] <= loads[taker] + 1, "{giver} to {taker}: {loads:?}");
                }
            }
        }
    }

    #[test]
    fn a_thousand_members_and_ten_thousand_partitions_are_no_matter_of_products() {
        let mut crew = Crew::new(Assignor::Uniform, &[1000; 10]);
        let wishes: Vec<u8> = (0..10).collect();
        for _ in 0..1_000 {
            crew.members.push((wishes.iter().map(|n| topic(*n)).collect(), Partitions::new()));
        }
        crew.share_out();
        assert!(crew.loads().iter().all(|load| *load == 10));
    }
}
