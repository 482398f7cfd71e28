//! A node of the virtual world: its switch, its door, and what it waits for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use pbx::edge::{self, Edge, UnknownDomain};
use pbx::flow::{Advertised, InnerPath};
use pbx::id::{NodeId, TenantId};
use pbx::media::Side;
use pbx::moment::Moment;
use pbx::record::Record;
use pbx::registrar::Policy;
use pbx::switch::{Setup, Switch};

use crate::sim::nodes::Life;
use crate::sim::world::FINGERPRINT;

const TOKEN_KEY: [u8; 16] = [3; 16];
const NONCE_KEY: [u8; 16] = [4; 16];

/// The switch and what it waits for.
#[derive(Debug)]
pub(in crate::sim) struct Stage {
    pub(in crate::sim) node: NodeId,
    pub(in crate::sim) switch: Switch,
    pub(in crate::sim) edge: Edge,
    pub(in crate::sim) address: SocketAddr,
    pub(in crate::sim) boot: u32,
    pub(in crate::sim) life: Life,
    /// Sound that it carries.
    pub(in crate::sim) sides: BTreeSet<Side>,
    /// Which tenants it believes to be at home here, and since which epoch.
    pub(in crate::sim) epochs: BTreeMap<TenantId, u64>,
    pub(super) kept: VecDeque<(Moment, Record)>,
    pub(super) inner: VecDeque<(InnerPath, Bytes)>,
    pub(super) ports: u16,
}

impl Stage {
    pub(in crate::sim) fn new(node: usize, boot: u32, unknown_domain: UnknownDomain) -> Self {
        let number = u8::try_from(node + 1).unwrap_or(u8::MAX);
        let node = NodeId(number.into());
        let address = SocketAddr::from(([203, 0, 113, number], 5060));
        let mut seed = [number; 32];
        seed[0] = u8::try_from(boot % 251).unwrap_or(0);
        let advertised = Advertised::default();
        let setup = Setup {
            node,
            boot,
            seed,
            token_key: TOKEN_KEY,
            nonce_key: NONCE_KEY,
            sip: advertised.clone(),
            media: advertised.clone(),
            own: vec![address.ip()],
            inner: address.ip(),
            fingerprint: Some(FINGERPRINT),
            policy: Policy::default(),
            unknown_domain,
        };
        let edge = edge::Setup {
            token_key: TOKEN_KEY,
            nonce_key: NONCE_KEY,
            boot,
            seed: [number.wrapping_add(100); 32],
            advertised,
            unknown_domain,
        };
        Self {
            node,
            switch: Switch::new(setup),
            edge: Edge::new(edge),
            address,
            boot,
            life: Life::Alive,
            sides: BTreeSet::new(),
            epochs: BTreeMap::new(),
            kept: VecDeque::new(),
            inner: VecDeque::new(),
            ports: 26_000,
        }
    }
}
