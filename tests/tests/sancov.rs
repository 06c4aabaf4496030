//! Handlers that a compiler instruments: what they record follows from the binary, in every run, and has its place in
//! the source.
//!
//! | module | what is held |
//! |---|---|
//! | [`asked`] | has the handler `branches` decide things, and finds the lines of what that left |
//! | [`branches`] | points and comparisons of a function with branches, from each compiler |
//! | [`widths`] | comparisons, divisions and switches of each width, from each compiler |
//! | [`optimised`] | that points of optimised code stay in their functions |
//! | [`builds`] | ways to build a library with an instrumented handler |
//! | [`programs`] | worker programs of a user's own with instrumented code |

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
