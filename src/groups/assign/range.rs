//! `range`: of each topic everybody gets about as many partitions, in one piece where that can be, and the same numbers
//! of each topic that has as many. So whoever reads partition 3 of one topic reads partition 3 of the other, and
//! records with one key meet.
//!
//! A member keeps the lowest numbers of what it was to have, up to its quota: members that kept the same of two topics
//! keep being given the same of both.

use super::{Counts, Partitions, Subscriber, TopicId, TopicPartition, readers};

/// See [`super::Assignor::Range`].
pub(super) fn assign(members: &[Subscriber<'_>], counts: &Counts) -> Vec<Partitions> {
    let mut shares = vec![Partitions::new(); members.len()];
    for (&topic, &count) in counts {
        let readers = readers(members, &topic);
        if !readers.is_empty() {
            let before: Vec<Vec<i32>> =
                readers.iter().map(|place| numbers(members[*place].before, topic, count)).collect();
            for (place, numbers) in readers.iter().zip(of_topic(&before, count)) {
                shares[*place].extend(numbers.into_iter().map(|number| TopicPartition { topic, number }));
            }
        }
    }
    shares
}

/// The partitions of a topic that are still there, in order.
fn numbers(share: &Partitions, topic: TopicId, count: i32) -> Vec<i32> {
    let all = TopicPartition { topic, number: 0 }..TopicPartition { topic, number: count };
    share.range(all).map(|partition| partition.number).collect()
}

/// Shares out the partitions of one topic among readers that had these before, each in order.
fn of_topic(before: &[Vec<i32>], count: i32) -> Vec<Vec<i32>> {
    let (least, mut extra) = (count as usize / before.len(), count as usize % before.len());
    let mut taken = vec![false; count as usize];
    let mut shares: Vec<Vec<i32>> = Vec::with_capacity(before.len());
    for had in before {
        let free = had.iter().copied().filter(|number| !taken[*number as usize]);
        // Whoever has more than the others will get keeps one more, as long as some may.
        let kept: Vec<i32> = free.take(least + usize::from(extra > 0)).collect();
        extra -= usize::from(kept.len() > least);
        kept.iter().for_each(|number| taken[*number as usize] = true);
        shares.push(kept);
    }
    let mut rest = (0..count).filter(|number| !taken[*number as usize]);
    for share in &mut shares {
        if share.len() > least {
            continue;
        }
        let quota = least + usize::from(extra > 0);
        extra = extra.saturating_sub(1);
        share.extend(rest.by_ref().take(quota - share.len()));
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::super::Assignor;
    use super::super::testing::{Crew, topic};
    use super::*;

    fn crew(sizes: &[i32]) -> Crew {
        Crew::new(Assignor::Range, sizes)
    }

    #[test]
    fn each_topic_is_cut_into_pieces() {
        let mut crew = crew(&[7, 3]);
        crew.members = vec![([topic(0), topic(1)].into(), Partitions::new()); 3];
        crew.share_out();
        assert_eq!([0, 1, 2].map(|n| crew.numbers(n, 0)), [vec![0, 1, 2], vec![3, 4], vec![5, 6]]);
        assert_eq!([0, 1, 2].map(|n| crew.numbers(n, 1)), [vec![0], vec![1], vec![2]]);
    }

    #[test]
    fn topics_with_as_many_partitions_are_cut_in_the_same_places_whoever_comes_and_goes() {
        let mut rng = crate::disk::sim::Rng::new(3);
        let mut crew = crew(&[12, 12]);
        for _ in 0..100 {
            if crew.members.len() > 1 && rng.chance(0.5) {
                crew.members.remove(rng.below(crew.members.len() as u64) as usize);
                crew.share_out();
            } else if crew.members.len() < 15 {
                crew.join(&[0, 1]);
            }
            for member in 0..crew.members.len() {
                assert_eq!(crew.numbers(member, 0), crew.numbers(member, 1));
            }
            let loads = crew.loads();
            assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 2, "one of each topic");
        }
    }

    #[test]
    fn members_keep_what_they_may() {
        let mut crew = crew(&[9]);
        crew.join(&[0]);
        crew.join(&[0]);
        assert_eq!([crew.numbers(0, 0), crew.numbers(1, 0)], [vec![0, 1, 2, 3, 4], vec![5, 6, 7, 8]]);
        crew.join(&[0]);
        assert_eq!([0, 1, 2].map(|n| crew.numbers(n, 0)), [vec![0, 1, 2], vec![5, 6, 7], vec![3, 4, 8]]);
        assert_eq!(crew.share_out(), 0);
        crew.members.remove(0);
        assert_eq!(crew.share_out(), 3);
    }

    #[test]
    fn more_members_than_partitions_leave_some_without() {
        let mut crew = crew(&[2, 2]);
        (0..4).for_each(|_| crew.join(&[0, 1]));
        assert_eq!(crew.loads(), [2, 2, 0, 0]);
    }

    #[test]
    fn members_that_do_not_want_a_topic_get_nothing_of_it() {
        let mut crew = crew(&[4, 4]);
        crew.join(&[0]);
        crew.join(&[0, 1]);
        assert_eq!([crew.numbers(0, 0), crew.numbers(1, 0)], [vec![0, 1], vec![2, 3]]);
        assert_eq!(crew.numbers(1, 1), [0, 1, 2, 3]);
    }
}
