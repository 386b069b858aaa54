"""Driver of test clocks: settles due work group by group, and moves clocks."""
