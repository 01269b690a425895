//! The words that fill a slot.

use super::source::Source;
use super::vocabulary::{
    CITIES, DATE_FORMS, FIRST_NAMES, FUTURE_DAYS, LAST_NAMES, MONTHS, ORDER_FORMS, PAST_DAYS, PERSON_FORMS,
    PRODUCTS, Split, WEEKDAYS,
};

/// How often a name of the dev file is one that is held out from the train file.
const HELD_OUT: f64 = 0.2;

/// The same for the forms in which names, numbers and days are written.
const HELD_OUT_FORM: f64 = 0.06;

/// Who writes, and from where: the same through a whole message.
pub(crate) struct Author {
    name: String,
    home: &'static str,
}

impl Author {
    pub(crate) fn new(source: &mut Source) -> Self {
        Self { name: person(source), home: source.pick(&CITIES, HELD_OUT) }
    }
}

/// The label of a slot, and words for it.
pub(crate) fn fill(slot: &str, author: &Author, source: &mut Source) -> (&'static str, String) {
    match slot {
        "product" => ("product", product(source)),
        "order_id" => ("order_id", order_id(source)),
        "city" => ("city", source.pick(&CITIES, HELD_OUT).to_owned()),
        "home" => ("city", author.home.to_owned()),
        "person" => ("person", person(source)),
        "author" => ("person", author.name.clone()),
        "date" => ("date", day(&DATE_FORMS, source)),
        "past_day" => ("date", day(&PAST_DAYS, source)),
        "future_day" => ("date", day(&FUTURE_DAYS, source)),
        other => unreachable!("a template names the slot {other}"),
    }
}

fn product(source: &mut Source) -> String {
    let product = source.pick(&PRODUCTS, HELD_OUT);
    match product.split_once('|') {
        Some((name, kind)) if source.chance(0.4) => format!("{name} {kind}"),
        Some((name, _)) => name.to_owned(),
        None => product.to_owned(),
    }
}

fn order_id(source: &mut Source) -> String {
    let form = source.pick(&ORDER_FORMS, HELD_OUT_FORM);
    form.chars().map(|c| if c == '9' { source.one(&DIGITS) } else { c }).collect()
}

const DIGITS: [char; 10] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];

fn person(source: &mut Source) -> String {
    let first = source.pick(&FIRST_NAMES, HELD_OUT);
    let last = source.pick(&LAST_NAMES, HELD_OUT);
    let form = source.pick(&PERSON_FORMS, HELD_OUT_FORM);
    replace_letters(form, |letter| match letter {
        'F' => Some(first.to_owned()),
        'I' => first.chars().next().map(String::from),
        'L' => Some(last.to_owned()),
        _ => None,
    })
}

fn day(forms: &Split, source: &mut Source) -> String {
    let form = source.pick(forms, HELD_OUT_FORM);
    let (day, month, weekday) = (1 + source.below(28), source.below(12), source.one(&WEEKDAYS));
    replace_letters(form, |letter| match letter {
        'D' => Some(day.to_string()),
        'X' => Some(format!("{day:02}")),
        'O' => Some(ordinal(day)),
        'M' => Some(MONTHS[month].to_owned()),
        'N' => Some(format!("{:02}", month + 1)),
        'W' => Some(weekday.to_owned()),
        _ => None,
    })
}

fn ordinal(day: usize) -> String {
    let ending = match (day / 10, day % 10) {
        (1, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{day}{ending}")
}

fn replace_letters(form: &str, value: impl Fn(char) -> Option<String>) -> String {
    form.chars().map(|letter| value(letter).unwrap_or_else(|| letter.to_string())).collect()
}
