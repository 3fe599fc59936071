//! Requests about topics, settings and positions, asked of the broker as a value: no sockets, a simulated disk, and
//! workers that work when they are told to.

mod admin {
    pub mod alter;
    pub mod alter_sweep;
    pub mod desk;
    pub mod epochs;
    pub mod groups;
    pub mod positions;
    pub mod topics;
}
