//! The source filter, while packets come in.

use super::{Options, ReceiveError, Run};
use crate::filter::{FilterMode, SourceFilter, privileges};
use crate::ingest::{self, Interface, Joined};
use crate::report::Report;
use fleetcast_protocol::channel::Channel;

/// Sets up the filter, joins, and gives up what only that needed: threads that start later have no more than is left.
pub(super) fn open(
    options: &Options,
    interface: &Interface,
    report: &Report,
) -> Result<(SourceFilter, Joined), ReceiveError> {
    let (filter, chosen) = SourceFilter::open(options.filter, &[options.channel], interface)?;
    let channel = match options.filter.mode {
        FilterMode::Off => Channel { source: None, ..options.channel },
        _ => options.channel,
    };
    let joined = ingest::open(&channel, interface)?;
    privileges::drop_network().map_err(std::io::Error::from)?;
    report.joined(&options.channel, interface, &joined, options.trust.awaited());
    report.filter(&chosen);
    Ok((filter, joined))
}

impl Run<'_> {
    /// Looks after the filter, when it is time.
    pub(super) fn tend_filter(&mut self) {
        if let Some(news) = self.filter.tend(self.now()) {
            self.report.filter_news(&news);
        }
    }
}
