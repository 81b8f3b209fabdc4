"""Write examples/sales.csv, a generated table of daily sales whose reach is known.

A shop sells about as much as on the same weekday of the week before, and a promotion raises its
sales of the day 12 days later. So a forecast of the next day needs a window of 12 days, and no
more. Run: python examples/sales.py
"""

from pathlib import Path

import numpy as np
import pandas as pd

SHOPS, DAYS = 8, 300
PROMOTION_LAG, WEEK = 12, 7


def sales(seed: int) -> pd.DataFrame:
    """One row for each shop and day."""
    generator = np.random.default_rng(seed)
    frames = []
    for shop in range(SHOPS):
        promotion = (generator.random(DAYS) < 0.25).astype(int)
        sold = generator.normal(100, 10, DAYS)
        for day in range(PROMOTION_LAG, DAYS):
            usual = 40 + 0.6 * sold[day - WEEK]
            sold[day] = usual + 30 * promotion[day - PROMOTION_LAG] + generator.normal(0, 4)
        dates = pd.date_range("2025-01-01", periods=DAYS, freq="D").strftime("%Y-%m-%d")
        price = generator.choice([4.5, 4.9, 5.2], DAYS)
        columns = {"date": dates, "shop": f"shop {shop + 1}", "price": price}
        frames.append(pd.DataFrame({**columns, "promotion": promotion, "sold": sold.round(1)}))
    return pd.concat(frames, ignore_index=True)


if __name__ == "__main__":
    path = Path(__file__).with_name("sales.csv")
    sales(seed=0).to_csv(path, index=False)
    print(f"wrote {path}")
