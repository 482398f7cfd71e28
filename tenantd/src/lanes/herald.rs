//! Tells every lane, and every peer node, what has become of our public addresses.

use std::sync::Arc;

use pbx::flow::Advertised;
use pbx::id::NodeId;
use pbx::input::Input;

use super::Lanes;
use super::inbox::Order;
use crate::net::link::Links;

/// Who tells them.
#[derive(Debug, Clone)]
pub struct Herald {
    pub(super) lanes: Arc<Lanes>,
    pub(super) links: Arc<Links>,
    pub(super) node: NodeId,
    pub(super) boot: u32,
}

impl Herald {
    /// From now on peers are told these: in Via and Contact, and in SDP. Calls keep what they were
    /// told until they are described anew.
    pub async fn tell(&self, sip: Advertised, sound: Advertised) {
        let Self { node, boot, .. } = *self;
        for lane in self.lanes.ids() {
            let here = Input::Node { node, boot, sip: sip.clone() };
            self.lanes.order(lane, Order::Tell(Box::new(here))).await;
            let sound = Input::SoundMoved(sound.clone());
            self.lanes.order(lane, Order::Tell(Box::new(sound))).await;
            self.lanes.order(lane, Order::Advertise(sip.clone())).await;
        }
        self.links.advertise(sip);
    }
}
