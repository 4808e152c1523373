//! SQL as text: cases by feature with their answers, and wrong statements with what is said about them.

mod cases;
mod mistakes;
mod script;
mod session;
