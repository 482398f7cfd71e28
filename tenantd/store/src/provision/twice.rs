//! What a provisioning file says twice.

use std::collections::{BTreeMap, BTreeSet};

use super::Problem;
use super::wanted::File;

impl File {
    /// What the file says twice.
    pub(super) fn check_across(&self) -> Result<(), Problem> {
        let mut domains = BTreeSet::new();
        let mut numbers = BTreeSet::new();
        for tenant in &self.tenants {
            let aliases = tenant.aliases.iter().flatten();
            for domain in aliases.chain([&tenant.domain]) {
                if !domains.insert(domain.as_str()) {
                    return Err(self.problem(tenant.line, format!("domain {domain} stands twice")));
                }
            }
            let mut names: BTreeMap<&str, usize> = BTreeMap::new();
            let extensions = tenant.extensions.iter().flat_map(|extension| {
                let username = extension.username.as_deref();
                let username =
                    username.filter(|name| !name.is_empty() && *name != extension.number);
                [Some(extension.number.as_str()), username].map(|name| (name, extension.line))
            });
            let groups = tenant.groups.iter().map(|g| (Some(g.number.as_str()), g.line));
            let conferences = tenant.conferences.iter();
            let conferences = conferences.map(|c| (Some(c.number.as_str()), c.line));
            let said = &tenant.played.announcements;
            let said = said.iter().map(|said| (Some(said.number.as_str()), said.line));
            for (name, line) in extensions.chain(groups).chain(conferences).chain(said) {
                if let Some(name) = name
                    && let Some(first) = names.insert(name, line)
                {
                    let reason = format!("{name} stands twice, first in line {first}");
                    return Err(self.problem(line, reason));
                }
            }
            let mut sounds = BTreeMap::new();
            for sound in &tenant.sounds {
                if let Some(first) = sounds.insert(sound.name.as_str(), sound.line) {
                    let reason =
                        format!("sound {:?} stands twice, first in line {first}", sound.name);
                    return Err(self.problem(sound.line, reason));
                }
            }
            for number in &tenant.numbers {
                if !numbers.insert(number.number.as_str()) {
                    let reason = format!("number {} stands twice", number.number);
                    return Err(self.problem(number.line, reason));
                }
            }
        }
        Ok(())
    }
}
