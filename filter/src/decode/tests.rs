use super::defrag::{self, Policy};
use super::*;

mod fragments;
mod layers;
