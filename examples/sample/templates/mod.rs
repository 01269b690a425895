//! The matter of a message, by intent and mood. `{slot}` is filled with an entity, `<name>` with a phrase, `[a|b]`
//! with one of the alternatives.

mod aftersales;
mod orders;
mod questions;

use super::vocabulary::Split;

/// One class of `intent` and the sentences that express it.
pub(crate) struct Intent {
    pub(crate) name: &'static str,
    /// How frequent the intent is among all messages, in percent.
    pub(crate) percent: u32,
    /// How frequent negative, neutral and positive messages of this intent are, in percent.
    pub(crate) moods: [u32; 3],
    /// Sentences without a mood: a sentence beside them may bring one.
    pub(crate) plain: Split,
    /// Sentences that are negative by themselves.
    pub(crate) negative: Split,
    /// Sentences that are positive by themselves.
    pub(crate) positive: Split,
}

pub(crate) const INTENTS: [Intent; 8] = [
    orders::ORDER_STATUS,
    orders::CANCEL_ORDER,
    orders::DELIVERY_CHANGE,
    aftersales::REFUND,
    aftersales::COMPLAINT,
    aftersales::PRAISE,
    questions::PRODUCT_QUESTION,
    questions::ACCOUNT,
];
