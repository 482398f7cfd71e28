//! How long a registration lasts: what the phone asks for, within what the operator allows.
//!
//! RFC 3261 §10.2.1.1 and §10.3 (7).

use std::time::Duration;

use super::refusal::Refusal;

/// The bounds of an expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Shorter ones are refused with 423.
    pub min_expires: Duration,
    /// For phones that name none.
    pub default_expires: Duration,
    /// Longer ones are cut to this.
    pub max_expires: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min_expires: Duration::from_secs(60),
            default_expires: Duration::from_secs(3_600),
            max_expires: Duration::from_secs(86_400),
        }
    }
}

impl Policy {
    /// What is granted while nothing can be stored: phones come back soon, and by then it may be.
    pub const UNSTORED_EXPIRES: Duration = Duration::from_secs(60);

    /// The longest that is granted to a phone behind a router that it does not know of: should the
    /// router forget it, or be replaced, the phone is found again when it next registers.
    pub const BEHIND_NAT_EXPIRES: Duration = Duration::from_secs(300);

    /// This policy for a phone behind a router.
    #[must_use]
    pub fn behind_nat(self) -> Self {
        Self { max_expires: self.max_expires.min(Self::BEHIND_NAT_EXPIRES), ..self }
    }

    /// This policy while the database is away.
    #[must_use]
    pub fn unstored(self) -> Self {
        Self { max_expires: self.max_expires.min(Self::UNSTORED_EXPIRES), ..self }
    }

    /// What is granted; zero is a removal.
    pub(super) fn grant(&self, asked: Option<u32>) -> Result<Duration, Refusal> {
        let asked = asked.map_or(self.default_expires, |s| Duration::from_secs(u64::from(s)));
        // §10.3 (7): what lasts an hour may not be called too brief.
        let shortest = self.min_expires.min(Duration::from_secs(3_600));
        if !asked.is_zero() && asked < shortest {
            let min_expires = u32::try_from(shortest.as_secs()).unwrap_or(3_600);
            return Err(Refusal::TooBrief { min_expires });
        }
        Ok(asked.min(self.max_expires))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_defaulted_cut_or_called_too_brief() {
        let policy = Policy::default();
        let granted = |asked| policy.grant(asked).map(|granted| granted.as_secs());
        assert_eq!(granted(None), Ok(3_600));
        assert_eq!(granted(Some(0)), Ok(0));
        assert_eq!(granted(Some(59)), Err(Refusal::TooBrief { min_expires: 60 }));
        assert_eq!(granted(Some(60)), Ok(60));
        assert_eq!(granted(Some(86_400)), Ok(86_400));
        assert_eq!(granted(Some(u32::MAX)), Ok(86_400));
    }

    #[test]
    fn an_hour_is_never_too_brief() {
        let policy = Policy { min_expires: Duration::from_secs(7_200), ..Policy::default() };
        assert_eq!(policy.grant(Some(3_600)), Ok(Duration::from_secs(3_600)));
        assert_eq!(policy.grant(Some(3_599)), Err(Refusal::TooBrief { min_expires: 3_600 }));
    }

    #[test]
    fn behind_a_router_five_minutes_are_granted_and_never_more_than_asked() {
        let policy = Policy::default().behind_nat();
        let granted = |asked| policy.grant(asked).map(|granted| granted.as_secs());
        assert_eq!((granted(None), granted(Some(3_600))), (Ok(300), Ok(300)));
        assert_eq!((granted(Some(120)), granted(Some(0))), (Ok(120), Ok(0)));
    }

    #[test]
    fn without_a_database_a_minute_is_granted_and_never_more_than_asked() {
        let policy =
            Policy { min_expires: Duration::from_secs(30), ..Policy::default() }.unstored();
        let granted = |asked| policy.grant(asked).map(|granted| granted.as_secs());
        assert_eq!((granted(None), granted(Some(3_600))), (Ok(60), Ok(60)));
        assert_eq!((granted(Some(30)), granted(Some(0))), (Ok(30), Ok(0)));
    }
}
