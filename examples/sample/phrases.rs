//! What may stand around the matter of a message, and phrases that templates name as `<name>`.
//!
//! Numbers, months that are names, products that are fruit: many of these hold words that look like entities and are
//! none, written out rather than as a slot.

use super::vocabulary::Split;

/// Phrases that a template names: `<order>` becomes one of the first row.
pub(crate) const PHRASES: &[(&str, &[&str])] = &[
    (
        "order",
        &[
            "order {order_id}",
            "order number {order_id}",
            "order no. {order_id}",
            "my order {order_id}",
            "order #{order_id}",
            "my order",
            "my last order",
            "my order ({order_id})",
        ],
    ),
    ("past", &["on {date}", "{past_day}", "{past_day}"]),
    ("future", &["on {date}", "{future_day}", "{future_day}"]),
    ("thing", &["the {product}", "the {product}", "my {product}", "this {product}", "my new {product}"]),
    ("thanks", &["Thanks", "Thank you", "Many thanks", "Thanks in advance", "Cheers"]),
    ("want", &["I want to", "I would like to", "I'd like to", "I need to", "I have to"]),
    ("can", &["Can you", "Could you", "Could you please", "Can you please", "Would you please"]),
    ("ask", &["Can I", "Could I", "May I", "Is it possible to", "How can I", "Am I able to"]),
];

pub(crate) const GREETINGS: Split = Split {
    shared: &[
        "Hi,",
        "Hello,",
        "Hi there,",
        "Good morning,",
        "Hey,",
        "Dear support team,",
        "Hello everyone,",
        "Good evening,",
        "Hi, {author} here.",
        "Hello from {home}!",
        "My name is {author}.",
        "Hi {person},",
    ],
    dev_only: &["Greetings from {home},", "Hey team,", "This is {author} speaking.", "Dear {person},"],
};

pub(crate) const CLOSINGS: Split = Split {
    shared: &[
        "<thanks>!",
        "<thanks>.",
        "<thanks>, {author}",
        "Best regards, {author}",
        "Regards, {author}",
        "Best, {author}",
        "Kind regards",
        "{author}",
        "Greetings from {home}, {author}",
        "Bye, {author}",
        "{author}, {home}",
    ],
    dev_only: &[
        "Yours, {author}",
        "Sincerely, {author}",
        "All the best from {home}",
        "Sent by {author} from {home}",
    ],
};

/// Sentences of no matter and no mood, with numbers and words that are not entities.
pub(crate) const ASIDES: Split = Split {
    shared: &[
        "I'm writing from my phone.",
        "I've been a customer since 2015.",
        "My customer number is 77120.",
        "You can reach me at 0171 555 0123.",
        "My postcode is 50667.",
        "I pay 4.99 euros a month for the premium service.",
        "I'm using the laptop of a friend.",
        "I spent 349 dollars at your shop last year.",
        "We have two tablets and a phone at home.",
        "I'm usually online around 9 am.",
        "I have a 10% voucher, too.",
        "I read the FAQ, page 3.",
        "My last invoice had 2 pages.",
        "I was eating a mango when the mail came in.",
        "I have your March brochure here.",
        "We watched the comet from the balcony that evening.",
        "I work every Monday to Friday from 8 to 5.",
        "May I add that I'm on holiday for 14 days.",
        "I get about 3 parcels a week.",
        "I live on the 4th floor.",
        "My birthday is in 5 days.",
        "My neighbour had the same question.",
        "I always use PayPal.",
        "The chat gave me the ticket number 003404341.",
        "I'm at work until 18:00 every day.",
        "I have been meaning to write for two weeks.",
        "I talked to the chat bot first.",
        "We are a small office of 12 people.",
    ],
    dev_only: &[
        "My flat is number 27.",
        "The magpies in the garden woke me at 5.",
        "I have 45 minutes at lunch.",
        "I usually pay in 3 instalments of 99 euros.",
        "I keep an otter as a desktop picture.",
        "I was with another shop from 2012 to 2021.",
        "My membership is 6605-B.",
        "I may be hard to reach in the mornings.",
    ],
};

pub(crate) const NEGATIVE: Split = Split {
    shared: &[
        "This is really frustrating.",
        "I'm losing patience.",
        "I expected better from you.",
        "Not what I hoped for.",
        "This is the third time I write and nobody answers.",
        "Honestly, I'm [disappointed|annoyed|fed up].",
        "What a mess.",
        "This is [unacceptable|ridiculous|a joke].",
        "I [won't|will not|will never] buy here again.",
        "I'm very unhappy with the way this is handled.",
        "Your hotline is useless.",
        "Good service looks different.",
        "Thanks for nothing.",
        "I regret [buying here|ordering from you].",
        "How hard can it be?",
        "I've wasted [an hour|two hours|half a day] on this.",
        "I'm not happy at all.",
        "So much for fast service.",
        "It's a shame, I used to like your shop.",
        "I feel ignored.",
        "Worst shop ever.",
        "Great, one more thing that doesn't work.",
        "That is not how you treat customers.",
        "[Nobody|No one] on the phone could help me, terrible.",
    ],
    dev_only: &[
        "I have had enough.",
        "Bravo, well done, another evening lost.",
        "I can't recommend you to anyone.",
        "Poor show, really.",
        "This leaves a bitter taste.",
        "It makes me angry.",
    ],
};

pub(crate) const NEUTRAL: Split = Split {
    shared: &[
        "Please let me know.",
        "A short answer by email is enough.",
        "Not urgent, just wondering.",
        "No rush.",
        "Let me know what you need from me.",
        "I will wait for your reply.",
        "Please confirm by email.",
        "I could not find it on the website.",
        "Tell me if anything is missing.",
        "An email is fine.",
        "Please call me back in the afternoon.",
        "That's all.",
    ],
    dev_only: &[
        "Kindly get back to me.",
        "I look forward to your answer.",
        "Just so I can plan.",
        "Ring me if it is quicker.",
    ],
};

pub(crate) const POSITIVE: Split = Split {
    shared: &[
        "I love your shop, by the way.",
        "Your service has been [great|excellent|fantastic] so far.",
        "You are always so quick, thank you!",
        "I'm really happy with everything else.",
        "No complaints otherwise, you are great.",
        "You've never let me down.",
        "Last time you solved it in minutes, brilliant.",
        "I'm a big fan of yours.",
        "Keep up the good work!",
        "The lady on the phone was so [kind|helpful|friendly].",
        "It's always a pleasure to order here.",
        "I can't wait!",
        "So far everything was perfect.",
        "Not bad at all, how you handle things.",
        "I recommend you to all my friends.",
        "You guys are the best.",
        "Everything went smoothly until now, well done.",
        "I was pleasantly surprised by your team.",
    ],
    dev_only: &[
        "You made my week.",
        "I couldn't ask for a better shop.",
        "There is nothing to complain about, on the contrary.",
        "Hats off to your team.",
        "I'm over the moon.",
    ],
};

pub(crate) const NEGATIVE_EMOJI: &[&str] = &["😡", "😞", "🙄", "👎"];
pub(crate) const NEUTRAL_EMOJI: &[&str] = &["🙂", "📦", "🤔"];
pub(crate) const POSITIVE_EMOJI: &[&str] = &["😊", "😍", "👍", "🎉"];

/// Words that hurried writers shorten.
pub(crate) const SHORT_FORMS: &[(&str, &str)] = &[
    ("please", "pls"),
    ("Please", "Pls"),
    ("thanks", "thx"),
    ("Thanks", "Thx"),
    ("because", "bc"),
    ("you", "u"),
    ("are", "r"),
    ("your", "ur"),
    ("and", "&"),
];
