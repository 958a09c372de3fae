"""Everything that can go wrong at once: kills, interrupts, forks, deadlines, hostile code."""
