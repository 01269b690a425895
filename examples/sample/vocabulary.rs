//! Names and numbers that become entities. The second list of each pair appears in `dev.jsonl` only.

/// Phrases for both files, and phrases that only the dev file may use.
pub(crate) struct Split {
    pub(crate) shared: &'static [&'static str],
    pub(crate) dev_only: &'static [&'static str],
}

/// Product names, each with the kind of thing it is; the kind belongs to the entity when it is said.
pub(crate) const PRODUCTS: Split = Split {
    shared: &[
        "Kestrel 14|laptop",
        "Kestrel Air|laptop",
        "Norvik 55|TV",
        "Norvik 65 Slim|TV",
        "Pebble Mini|speaker",
        "Pebble Max|speaker",
        "Auralis One|headset",
        "Auralis Pro|headset",
        "Mango Tab 8|tablet",
        "Mango Tab 11|tablet",
        "Comet 7|phone",
        "Comet 7 Lite|phone",
        "Fjord S2|soundbar",
        "Orchid Q|smartwatch",
        "Orchid Fit|smartwatch",
        "Tindra|e-reader",
        "Halo 27|monitor",
        "Halo 32 Curve|monitor",
        "Bramble K1|keyboard",
        "Bramble Go|keyboard",
        "Swift M3|mouse",
        "Beacon AX|router",
        "Beacon Mesh|router",
        "Otter 4K|camera",
        "Otter Mini|camera",
        "Voltix 20000|power bank",
        "Voltix Duo|charger",
        "Sirocco V9|vacuum",
        "Papyrus 300|printer",
        "Lumen P5|projector",
        "Wren|webcam",
        "Magpie|drone",
    ],
    dev_only: &[
        "Kestrel Studio|laptop",
        "Corvo X|phone",
        "Tundra 12|tablet",
        "Quill Touch|e-reader",
        "Basalt 43|TV",
        "Sonda R1|microphone",
        "Halo 24|monitor",
        "Beacon Lite|router",
        "Dovetail|docking station",
        "Zephyr Z2|vacuum",
        "Pebble Outdoor|speaker",
        "Amber Ring|smartwatch",
    ],
};

pub(crate) const CITIES: Split = Split {
    shared: &[
        "Lyon",
        "Porto",
        "Zürich",
        "Kraków",
        "Malmö",
        "Leeds",
        "Ghent",
        "Turin",
        "Graz",
        "Bilbao",
        "Tallinn",
        "Utrecht",
        "Aarhus",
        "Cork",
        "Nantes",
        "Bremen",
        "Valencia",
        "Brno",
        "Bergen",
        "Bath",
        "San Sebastián",
        "New York",
        "Manchester",
        "Athens",
        "Sofia",
        "Córdoba",
        "Reading",
        "Salzburg",
    ],
    dev_only: &[
        "Göteborg",
        "Nice",
        "Riga",
        "Dundee",
        "Leuven",
        "Bologna",
        "Tampere",
        "Łódź",
        "The Hague",
        "Split",
    ],
};

pub(crate) const FIRST_NAMES: Split = Split {
    shared: &[
        "Marta", "Jonas", "Amina", "Luca", "Sofie", "Tomasz", "Priya", "Hugo", "Élise", "Dmitri", "Noor",
        "Pablo", "Ingrid", "Kofi", "Yuki", "Anna", "Ben", "Carla", "April", "Mark", "Zoë", "Ravi", "Helena",
        "Oskar", "Mei", "Paul", "Fatima", "George",
    ],
    dev_only: &["Leonie", "Kwame", "Florence", "Björn", "Rosa", "Grace", "Mateo", "Aylin", "Will", "Siobhán"],
};

pub(crate) const LAST_NAMES: Split = Split {
    shared: &[
        "Lindqvist",
        "Okafor",
        "Moreau",
        "Novak",
        "Silva",
        "Haddad",
        "Jensen",
        "Kowalski",
        "Rossi",
        "Berger",
        "Sharma",
        "Tanaka",
        "O'Brien",
        "Müller",
        "García",
        "Petrov",
        "Baker",
        "Young",
        "de Vries",
        "Fischer",
    ],
    dev_only: &["Eriksen", "Mbeki", "Santoro", "Price", "van Dijk", "Dubois", "Yılmaz", "Winter"],
};

/// How a person is named; `F`, `I` and `L` stand for the first name, its initial and the last name.
pub(crate) const PERSON_FORMS: Split = Split { shared: &["F", "F", "F L", "F L"], dev_only: &["I. L"] };

/// `9` stands for any digit.
pub(crate) const ORDER_FORMS: Split = Split {
    shared: &["VX-99999", "VX-99999", "VX99999", "99999999", "4099999", "VX-999-99"],
    dev_only: &["VX 99999", "VX/9999/99"],
};

/// Days that follow "on", "by", "since" or "until": `D` a day of the month, `X` with two digits, `O` an ordinal, `M` a
/// month, `N` its number, `W` a day of the week.
pub(crate) const DATE_FORMS: Split = Split {
    shared: &["D M", "M D", "the O", "X/N", "X.N.2024", "W", "W", "W, M D", "the O of M"],
    dev_only: &["2024-N-X", "M the O", "W the O"],
};

/// Days that stand without a preposition, gone by.
pub(crate) const PAST_DAYS: Split = Split {
    shared: &["yesterday", "last W", "last W", "this W", "last night"],
    dev_only: &["the day before yesterday", "W last week"],
};

/// Days that stand without a preposition, to come.
pub(crate) const FUTURE_DAYS: Split = Split {
    shared: &["tomorrow", "next W", "next W", "this W"],
    dev_only: &["the day after tomorrow", "W next week"],
};

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(crate) const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
