//! What web servers give, on its way into the session and staging.

use super::{Options, ReceiveError, Run};
use crate::repair::{Fetched, write_spent};
use fleetcast_protocol::session::receiver::ReceiverSession;
use fleetcast_protocol::session::receiver::ranges::FetchConfig;
use std::io;

/// The session, told whom it may ask.
pub(super) fn session(options: &Options, session: ReceiverSession) -> io::Result<ReceiverSession> {
    let Some(repair) = &options.repair else { return Ok(session) };
    Ok(session.with_fetching(FetchConfig {
        urls: repair.urls.clone(),
        announced: repair.announced.clone(),
        offset: repair.offset,
        period: repair.period,
        budget_bytes: repair.budget_bytes,
        seed: getrandom::u64().map_err(io::Error::other)?,
    }))
}

impl Run<'_> {
    /// Takes what was fetched, and fetches on when it is time.
    pub(super) fn take_fetched(&mut self) -> Result<(), ReceiveError> {
        let Some(fetcher) = &self.fetcher else { return Ok(()) };
        fetcher.clear_wake();
        if !self.session.fetch_is_wanted() {
            fetcher.cancel();
        }
        while let Some(fetched) = self.fetcher.as_ref().and_then(|fetcher| fetcher.poll()) {
            self.take_one(&fetched)?;
        }
        self.take_actions()?;
        while let Some(server) = self.session.poll_distrusted() {
            self.report.distrusted(&server);
        }
        let now = self.now();
        if let (Some(fetch), Some(fetcher)) = (self.session.poll_fetch(now), &mut self.fetcher) {
            fetcher.fetch(fetch);
        }
        if self.session.is_over_fetch_budget() && !std::mem::replace(&mut self.said_over_budget, true) {
            self.report.over_budget(self.session.fetched_bytes(), self.session.lacking_symbols());
        }
        // A block that had to start over is noted before anything of it is fetched.
        self.take_actions()
    }

    fn take_one(&mut self, fetched: &Fetched) -> Result<(), ReceiveError> {
        let now = self.now();
        match fetched {
            Fetched::Symbols { generation, first_esi, bytes } => self.take_symbols(*generation, *first_esi, bytes),
            Fetched::End { end, url, sbn, error } => {
                self.session.on_fetch_end(now, *end);
                self.report.fetched(url, *sbn, end, error.as_ref());
                let digest = self.session.delivery().map(|delivery| delivery.digest());
                if let Some(digest) = digest.filter(|_| end.generation == self.session.generation()) {
                    write_spent(&self.state.fetched_path(), &digest, self.session.fetched_bytes())?;
                }
                Ok(())
            }
        }
    }

    fn take_symbols(&mut self, generation: u32, first_esi: u32, bytes: &[u8]) -> Result<(), ReceiveError> {
        let now = self.now();
        let Some(symbol_size) = self.session.delivery().map(|it| usize::from(it.partition().symbol_size())) else {
            return Ok(());
        };
        let mut symbols = Vec::new();
        for (symbol, esi) in bytes.chunks(symbol_size).zip(first_esi..) {
            if let Some(store) = self.session.on_fetched(now, generation, esi, symbol) {
                self.place(&store, &mut symbols)?;
            }
            if self.session.has_actions() {
                self.store(&mut symbols)?;
                self.take_actions()?;
            }
        }
        self.store(&mut symbols)
    }
}
