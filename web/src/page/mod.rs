//! The pages, a file each.

pub(crate) mod call;
pub(crate) mod cards;
pub(crate) mod companies;
pub(crate) mod first;
pub(crate) mod letters;
pub(crate) mod login;
pub(crate) mod objects;
pub(crate) mod recordings;
pub(crate) mod rooms;
pub(crate) mod sound_upload;
pub(crate) mod sounds;

use pbx::id::TenantId;
use pbx::moment::Moment;

use crate::Portal;
use crate::guard::Viewer;

/// What stands around every page.
pub(crate) struct Frame {
    pub(crate) title: String,
    pub(crate) email: String,
    pub(crate) csrf: String,
    pub(crate) is_provider: bool,
    pub(crate) tenant: Option<TenantId>,
}

impl Frame {
    pub(crate) fn new(portal: &Portal, viewer: &Viewer, title: &str) -> Self {
        Self {
            title: title.to_owned(),
            email: viewer.account.email.clone(),
            csrf: viewer.csrf(portal),
            is_provider: viewer.account.is_provider(),
            tenant: None,
        }
    }

    pub(crate) fn of(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }
}

/// A moment in the company's own time.
pub(crate) fn local(moment: Moment, zone: &str, format: &str) -> String {
    let zone: chrono_tz::Tz = zone.parse().unwrap_or(chrono_tz::UTC);
    let micros = i64::try_from(moment.as_micros()).unwrap_or(0);
    let utc = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
    utc.with_timezone(&zone).format(format).to_string()
}
