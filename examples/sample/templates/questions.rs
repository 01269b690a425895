//! Without a parcel: what a product can do, and the customer's own account.

use super::{Intent, Split};

pub(super) const PRODUCT_QUESTION: Intent = Intent {
    name: "product_question",
    percent: 12,
    moods: [14, 60, 26],
    plain: Split {
        shared: &[
            "Does the {product} [support|work with|come with] [Bluetooth|USB-C|wireless charging|a headphone jack]?",
            "How [big|heavy|loud|fast] is the {product}?",
            "What is the difference between the {product} and the {product}?",
            "Is the {product} [waterproof|available in black|in stock|still available]?",
            "When will the {product} be back in stock?",
            "Can I use <thing> with [an older TV|my car|two screens|a Mac]?",
            "How long does the battery of the {product} last?",
            "Do you have the {product} in the store in {city}?",
            "Which one do you recommend, the {product} or the {product}?",
            "Is there a warranty on the {product}, and for how long?",
            "What does the {product} weigh?",
            "How do I [reset|update|set up|connect] <thing>?",
            "Does the price of the {product} include a charger?",
            "Will there be a discount on the {product} before {date}?",
            "Is the {product} suitable for [children|gaming|travelling|video calls]?",
            "Do you sell spare parts for the {product}?",
            "How much memory does the {product} have?",
            "{person} recommended the {product} to me. Does it have a [stand|case|remote]?",
            "Can I try the {product} somewhere in {city}?",
            "Which cable do I need for <thing>?",
            "Is the {product} compatible with the {product}?",
            "When does the new {product} come out, is it {date}?",
            "Before I order: can the {product} be returned if opened?",
            "Does the {product} need an account to work?",
        ],
        dev_only: &[
            "What resolution does the {product} offer?",
            "Are there any coloured covers for the {product}?",
            "How many ports has the {product} got?",
            "Would the {product} run without internet?",
            "Is the manual of the {product} available in Polish?",
        ],
    },
    negative: Split {
        shared: &[
            "Your description of the {product} is useless. Does it have Bluetooth or not?",
            "Why is there no proper manual for <thing>? How do I reset it?",
            "The chat bot is too stupid to tell me: how heavy is the {product}?",
            "I asked {person} <past> and got nonsense. Is the {product} waterproof?",
            "It's awful how hard it is to set up <thing>. How does one connect it?",
        ],
        dev_only: &["Nothing but marketing babble on your page, what can the {product} really do?"],
    },
    positive: Split {
        shared: &[
            "The {product} looks [gorgeous|amazing|fantastic]! Does it also come in white?",
            "I love <thing>! Which case fits it?",
            "I adored the old one, so I'm curious: what's new in the {product}?",
            "My {product} is brilliant. Can I connect a second one?",
            "{person} raved about the {product}, I'm hooked. Is it in stock in {city}?",
        ],
        dev_only: &["Such a pretty thing, the {product}, is there a smaller one?"],
    },
};

pub(super) const ACCOUNT: Intent = Intent {
    name: "account",
    percent: 9,
    moods: [30, 56, 14],
    plain: Split {
        shared: &[
            "I forgot my password.",
            "I can't [log in|sign in] since {date}.",
            "<want> [delete|close|cancel] my account.",
            "<ask> change the email address of my account?",
            "Please change the name on my account to {person}.",
            "How do I [turn on|set up] two-factor login?",
            "I moved to {city}, please update my customer profile.",
            "The code for the login doesn't arrive on my phone.",
            "Please remove my card from my profile.",
            "I have two accounts, can you merge them?",
            "<can> unlock my account? It is blocked since {date}.",
            "Please take me off the newsletter.",
            "I can't see my old invoices in the app.",
            "My account shows the orders of {person}, not mine.",
            "The password link from {date} has expired, please send a new one.",
            "How do I add {person} to our business account?",
            "Someone logged in to my account from {city} <past>. It wasn't me.",
            "I never got the mail to confirm my registration.",
            "Which email address is my profile registered with? {person} set it up.",
            "My loyalty points have been gone since {date}.",
            "I bought <thing> <past> but it does not show in my account.",
        ],
        dev_only: &[
            "The app wants a PIN that I never set.",
            "Please erase all my personal data.",
            "What username did I register with?",
            "My login says 'unknown user' since {date}.",
        ],
    },
    negative: Split {
        shared: &[
            "I'm locked out of my account again, this is driving me crazy!",
            "Your login is a nightmare. I reset the password five times!",
            "Stop spamming me with newsletters! I unsubscribed on {date}.",
            "Delete my account. I'm sick of your company.",
            "Somebody in {city} uses my account and your support shrugs. Outrageous!",
        ],
        dev_only: &["Who programmed this horrible login page? I can't get in."],
    },
    positive: Split {
        shared: &[
            "The new app is really beautiful! Only: how do I change my password there?",
            "{person} helped me wonderfully with my login <past>, now I only need a new password.",
        ],
        dev_only: &["I like the new profile page a lot! Where do I change my email there?"],
    },
};
