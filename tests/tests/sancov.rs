//! Handlers that a compiler instruments: their records follow from the binary, are the same in every run, and
//! have a place in the source.
//!
//! | module | what it checks |
//! |---|---|
//! | [`asked`] | runs decisions of the handler `branches` and locates the records that they left |
//! | [`branches`] | points and comparisons of a function with branches, from each compiler |
//! | [`widths`] | comparisons, divisions and switches of each width, from each compiler |
//! | [`optimised`] | points of optimised code stay in their functions |
//! | [`builds`] | ways to build a library with an instrumented handler |
//! | [`programs`] | users' own worker programs with instrumented code |

#[path = "sancov/asked.rs"]
mod asked;
#[path = "sancov/branches.rs"]
mod branches;
#[path = "sancov/builds.rs"]
mod builds;
#[path = "sancov/optimised.rs"]
mod optimised;
#[path = "sancov/programs.rs"]
mod programs;
#[path = "sancov/widths.rs"]
mod widths;
