//! Clients that behave badly: close in the middle of a frame, never read what they asked for, or speak nonsense. They
//! publish nothing; all that is checked is that nobody else notices them.

use krappy_wire::native::{Head, Reply, Request};

use super::link::{Ctx, Link, Script};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Sends the front of a frame, and leaves.
    Cuts,
    /// Asks and asks, and never reads.
    Deaf,
    /// Sends bytes that mean nothing.
    Babbles,
}

pub struct Rude {
    manner: Manner,
    ops: u32,
    sent: u32,
}

impl Rude {
    pub fn new(ctx: &mut Ctx<'_>, ops: u32) -> Rude {
        let manner = [Manner::Cuts, Manner::Deaf, Manner::Babbles][ctx.rng.below(3) as usize];
        Rude { manner, ops, sent: 0 }
    }

    fn cut(link: &mut Link, ctx: &mut Ctx<'_>) {
        let mut frame = Vec::new();
        let name = "x".repeat(ctx.rng.below(6_000) as usize);
        let head = Head { stream: 0, correlation: 7 };
        Request::DescribeTopic { topic: &name }.encode(head, &mut frame);
        let cut = ctx.rng.below(frame.len() as u64) as usize;
        link.raw(&frame[..cut]);
    }
}

impl Script for Rude {
    fn act(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        if ctx.quiet {
            return link.leave();
        }
        if self.ops == 0 || link.unsent() > 10_000 {
            return;
        }
        self.ops -= 1;
        self.sent += 1;
        match self.manner {
            Manner::Cuts if self.sent.is_multiple_of(3) => link.leave(),
            Manner::Cuts if self.sent % 3 == 1 => Rude::cut(link, ctx),
            Manner::Cuts => {}
            Manner::Deaf => {
                link.request(0, &Request::Status);
            }
            Manner::Babbles => {
                let bytes: Vec<u8> = (0..ctx.rng.below(40)).map(|_| ctx.rng.next_u64() as u8).collect();
                link.raw(&bytes);
            }
        }
    }

    fn reply(&mut self, _head: Head, _reply: Reply<'_>, _link: &mut Link, _ctx: &mut Ctx<'_>) {}

    fn lost(&mut self, _ctx: &mut Ctx<'_>) {}

    fn finished(&self) -> bool {
        self.ops == 0
    }

    fn listens(&self) -> bool {
        self.manner != Manner::Deaf
    }

    fn describe(&self) -> String {
        format!("rude: {:?}", self.manner)
    }
}
