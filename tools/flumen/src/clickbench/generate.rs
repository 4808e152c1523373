//! A table of page views.
//!
//! Rows come counter by counter, as the original is sorted; how many a counter has falls with the cube of its number.
//! Users, pages, hosts and phrases are skewed alike. Nine of ten search phrases and phone models are empty. An address is
//! the same for all views of a page and a title for most of them, so that both repeat but hardly in a row. Everything is
//! drawn from one seed with integer arithmetic, multiplications and exact divisions: a size means the same rows everywhere.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Date32Array, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::ArrowError;
use flumen_io::{RandomSource, Rng};

use crate::tables;

/// Rows of a row group, and of a batch on its way there.
const ROW_GROUP_ROWS: usize = 122_880;

const SEED: u64 = 2013;

/// 2013-07-01, in days since 1970.
const FIRST_DAY: i32 = 15_887;

/// Counters of all sites.
const COUNTERS: u64 = 5_000;

/// The counter, the user and the pages that queries ask for.
const COUNTER_ASKED: i32 = 62;
const USER_ASKED: i64 = 435_090_932_899_640_449;
const URL_HASH_ASKED: i64 = 2_868_770_270_353_813_622;
const REFERER_HASH_ASKED: i64 = 3_594_120_000_172_545_465;

/// Words of phrases and titles.
const WORDS: [&str; 32] = [
    "купить",
    "скачать",
    "бесплатно",
    "погода",
    "карта",
    "онлайн",
    "фильм",
    "рецепт",
    "weather",
    "cheap",
    "flights",
    "music",
    "video",
    "photo",
    "train",
    "garden",
    "kitchen",
    "ремонт",
    "работа",
    "новости",
    "football",
    "recipe",
    "map",
    "дом",
    "авто",
    "hotel",
    "book",
    "game",
    "test",
    "price",
    "city",
    "2013",
];

/// Models of phones; most views come from none.
const MODELS: [&str; 12] = [
    "iPhone",
    "iPad",
    "GT-I9300",
    "GT-N7100",
    "Nexus 4",
    "Lumia 800",
    "Desire",
    "Xperia Z",
    "3310",
    "One X",
    "Optimus G",
    "S60",
];

const WIDTHS: [i16; 8] = [1024, 1280, 1366, 1440, 1600, 1680, 1920, 0];

/// Makes the table.
///
/// # Errors
/// If the file cannot be written.
pub fn generate(directory: &Path, rows: u64) -> anyhow::Result<()> {
    anyhow::ensure!(rows > 0, "a table has at least one row");
    tables::write(directory, "hits", ROW_GROUP_ROWS, batches(rows))?;
    Ok(())
}

/// A number in 0..bound, small ones far more often: the share of the first `k` is the cube root of `k / bound`.
fn skewed(rng: &mut Rng, bound: u64) -> u64 {
    cubed(rng.unit_f64(), bound)
}

fn cubed(unit: f64, bound: u64) -> u64 {
    // In 0..bound: a float that is cut to an integer keeps within what it had.
    ((unit * unit * unit) * bound as f64) as u64
}

/// 64 bits for a number, without a sign.
fn mixed(kind: u64, number: u64) -> i64 {
    let bits = Rng::from_seed((kind << 48) ^ number).next_u64();
    i64::try_from(bits >> 1).unwrap_or_default()
}

fn below_i32(rng: &mut Rng, bound: u64) -> i32 {
    i32::try_from(rng.below(bound)).unwrap_or_default()
}

fn below_i16(rng: &mut Rng, bound: u64) -> i16 {
    i16::try_from(rng.below(bound)).unwrap_or_default()
}

fn pick<T: Copy>(of: &[T], number: u64) -> T {
    of[usize::try_from(number % of.len() as u64).unwrap_or_default()]
}

/// Two to four words that stand for a number.
fn words(kind: u64, number: u64) -> String {
    let mut rng = Rng::from_seed((kind << 48) ^ number);
    let count = 2 + rng.below(3);
    let words: Vec<&str> = (0..count).map(|_| pick(&WORDS, rng.next_u64() >> 8)).collect();
    // Numbers keep phrases apart that happen to have the same words.
    if number < 64 { words.join(" ") } else { format!("{} {number}", words.join(" ")) }
}

/// The columns of a batch.
#[derive(Default)]
struct Columns {
    watch: Vec<i64>,
    counter: Vec<i32>,
    time: Vec<i64>,
    date: Vec<i32>,
    client_ip: Vec<i32>,
    region: Vec<i32>,
    user: Vec<i64>,
    url: Vec<String>,
    referer: Vec<String>,
    title: Vec<String>,
    is_refresh: Vec<i16>,
    is_link: Vec<i16>,
    is_download: Vec<i16>,
    dont_count: Vec<i16>,
    engine_of_ads: Vec<i16>,
    width: Vec<i16>,
    phone: Vec<i16>,
    model: Vec<&'static str>,
    engine_of_search: Vec<i16>,
    phrase: Vec<String>,
    traffic_source: Vec<i16>,
    url_hash: Vec<i64>,
    referer_hash: Vec<i64>,
    client_width: Vec<i16>,
    client_height: Vec<i16>,
}

impl Columns {
    /// A view: the `row`th of `rows`.
    fn view(&mut self, row: u64, rows: u64, rng: &mut Rng) {
        let counter = cubed((row as f64 + 0.5) / rows as f64, COUNTERS);
        self.watch.push(mixed(1, row));
        self.counter.push(match i32::try_from(counter).unwrap_or_default() {
            0 => COUNTER_ASKED,
            number => number * 37 + 100,
        });
        let day = FIRST_DAY + below_i32(rng, 31);
        self.date.push(day);
        self.time.push((i64::from(day) * 86_400 + i64::from(below_i32(rng, 86_400))) * 1_000_000);
        let user = skewed(rng, (rows / 4).max(1));
        self.user.push(if user == 7 { USER_ASKED } else { mixed(2, user) });
        self.client_ip.push(i32::try_from(mixed(3, user / 2) >> 32).unwrap_or_default());
        self.region.push(i32::try_from(cubed(mixed(4, user) as f64 / 2_f64.powi(63), 9_000)).unwrap_or_default());
        self.page(counter, rng);
        self.origin(rng);
        self.is_refresh.push(i16::from(rng.chance(0.1)));
        self.is_link.push(i16::from(rng.chance(0.2)));
        self.is_download.push(i16::from(rng.chance(0.01)));
        self.dont_count.push(i16::from(rng.chance(0.05)));
        self.engine_of_ads.push(if rng.chance(0.02) {
            1 + i16::try_from(skewed(rng, 30)).unwrap_or_default()
        } else {
            0
        });
        self.width.push(pick(&WIDTHS, mixed(5, user).unsigned_abs()));
        let phone = if rng.chance(0.08) { 1 + skewed(rng, 60) } else { 0 };
        self.phone.push(i16::try_from(phone).unwrap_or_default());
        self.model.push(if phone == 0 { "" } else { pick(&MODELS, phone) });
        self.client_width.push(900 + 10 * below_i16(rng, 100));
        self.client_height.push(500 + 10 * below_i16(rng, 60));
    }

    /// What was viewed.
    fn page(&mut self, counter: u64, rng: &mut Rng) {
        let page = skewed(rng, 40 + 4_000 / (counter + 1));
        let number = counter * 10_000 + page;
        let google = if mixed(6, number) % 400 == 0 { "google/" } else { "" };
        let section = pick(&WORDS[8..17], number);
        self.url.push(format!("http://site-{counter}.example/{section}/{google}page-{page}.html?ref={}", number % 97));
        self.url_hash.push(if number == 0 { URL_HASH_ASKED } else { mixed(7, number) });
        let name = match mixed(8, number) % 500 {
            0 => "Google ",
            _ => "",
        };
        self.title.push(if rng.chance(0.05) { String::new() } else { format!("{name}{}", words(9, number)) });
    }

    /// Where the view came from.
    fn origin(&mut self, rng: &mut Rng) {
        let phrase = rng.chance(0.13).then(|| skewed(rng, 400_000));
        self.phrase.push(phrase.map_or_else(String::new, |phrase| words(10, phrase)));
        self.engine_of_search.push(if phrase.is_some() {
            2 + i16::try_from(skewed(rng, 40)).unwrap_or_default()
        } else {
            0
        });
        self.traffic_source.push(below_i16(rng, 11) - 1);
        if rng.chance(0.25) {
            self.referer.push(String::new());
            self.referer_hash.push(0);
            return;
        }
        let (host, path) = (skewed(rng, 3_000), skewed(rng, 2_000));
        let (scheme, www) = (pick(&["http", "https"], host), pick(&["", "www.", ""], host));
        self.referer.push(format!("{scheme}://{www}host-{host}.example/from/{path}"));
        self.referer_hash.push(if host == 0 { REFERER_HASH_ASKED } else { mixed(11, (host << 20) | path) });
    }

    fn batch(self) -> Result<RecordBatch, ArrowError> {
        let int64 = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let int32 = |values: Vec<i32>| Arc::new(Int32Array::from(values)) as ArrayRef;
        let int16 = |values: Vec<i16>| Arc::new(Int16Array::from(values)) as ArrayRef;
        let text = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
        RecordBatch::try_from_iter([
            ("WatchID", int64(self.watch)),
            ("CounterID", int32(self.counter)),
            ("EventTime", Arc::new(TimestampMicrosecondArray::from(self.time)) as ArrayRef),
            ("EventDate", Arc::new(Date32Array::from(self.date))),
            ("ClientIP", int32(self.client_ip)),
            ("RegionID", int32(self.region)),
            ("UserID", int64(self.user)),
            ("URL", text(self.url)),
            ("Referer", text(self.referer)),
            ("Title", text(self.title)),
            ("IsRefresh", int16(self.is_refresh)),
            ("IsLink", int16(self.is_link)),
            ("IsDownload", int16(self.is_download)),
            ("DontCountHits", int16(self.dont_count)),
            ("AdvEngineID", int16(self.engine_of_ads)),
            ("ResolutionWidth", int16(self.width)),
            ("MobilePhone", int16(self.phone)),
            ("MobilePhoneModel", Arc::new(StringArray::from(self.model))),
            ("SearchEngineID", int16(self.engine_of_search)),
            ("SearchPhrase", text(self.phrase)),
            ("TrafficSourceID", int16(self.traffic_source)),
            ("URLHash", int64(self.url_hash)),
            ("RefererHash", int64(self.referer_hash)),
            ("WindowClientWidth", int16(self.client_width)),
            ("WindowClientHeight", int16(self.client_height)),
        ])
    }
}

fn batches(rows: u64) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
    let mut rng = Rng::stream(SEED, "hits");
    (0..rows).step_by(ROW_GROUP_ROWS).map(move |from| {
        let mut columns = Columns::default();
        for row in from..(from + ROW_GROUP_ROWS as u64).min(rows) {
            columns.view(row, rows, &mut rng);
        }
        columns.batch()
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Int16Type, Int32Type, Int64Type};

    use super::*;

    #[test]
    fn values_are_skewed_and_repeat() {
        let batch = batches(20_000).next().unwrap().unwrap();
        assert_eq!(batch, batches(20_000).next().unwrap().unwrap());
        let counters = batch.column_by_name("CounterID").unwrap().as_primitive::<Int32Type>();
        assert!(counters.values().is_sorted());
        let of_asked = counters.values().iter().filter(|counter| **counter == COUNTER_ASKED).count();
        assert!((1_000..1_400).contains(&of_asked), "{of_asked}");
        let users = batch.column_by_name("UserID").unwrap().as_primitive::<Int64Type>();
        assert!(users.values().contains(&USER_ASKED));
        let phrases = batch.column_by_name("SearchPhrase").unwrap().as_string::<i32>();
        let empty = phrases.iter().flatten().filter(|phrase| phrase.is_empty()).count();
        assert!((17_000..17_800).contains(&empty), "{empty}");
        let hashes = batch.column_by_name("URLHash").unwrap().as_primitive::<Int64Type>();
        assert!(hashes.values().iter().filter(|hash| **hash == URL_HASH_ASKED).count() > 20);
        let sources = batch.column_by_name("TrafficSourceID").unwrap().as_primitive::<Int16Type>();
        assert!(sources.values().iter().all(|source| (-1..=9).contains(source)));
    }

    #[test]
    fn cubes_stay_below_their_bound() {
        assert_eq!([cubed(0.0, 10), cubed(0.5, 1000), cubed(1.0 - f64::EPSILON / 2.0, 10)], [0, 125, 9]);
    }
}
