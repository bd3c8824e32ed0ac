"""What several studies use: places, machine, timing, results, charts, photos, copies."""
