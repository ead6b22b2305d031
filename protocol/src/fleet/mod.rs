//! The truth per device: what receivers say of themselves, and what a sender makes of it.
//!
//! A [`DeviceReport`] is one device's word: where it stands with one manifest. [`Fleet`] keeps the last word of each, within
//! bounds, and [`Tally`] is the sum. Reports are not authenticated: who can reach the sender can lie. Lies are bounded in memory and
//! number, and where the operator gives a list of devices nobody else counts.

mod device;
mod report;
mod tally;
mod truth;

pub use device::{DeviceId, DeviceIdError};
pub use report::{DeviceReport, DeviceState, MAX_REPORT_LEN, ReportError};
pub use tally::{Tally, repair_for_loss};
pub use truth::{Fleet, Heard, Ignored, MAX_DEVICES, MAX_DEVICES_PER_ADDRESS, Stand};
