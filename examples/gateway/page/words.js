// Numbers and times as people read them.

// As many decimals as the sensor itself sends, so that the text keeps its width.
export function decimals(recent) {
  let most = 0;
  for (const [, value] of recent) {
    const [, fraction = ""] = String(value).split(".");
    most = Math.max(most, fraction.includes("e") ? 0 : fraction.length);
  }
  return Math.min(most, 3);
}

export function words(value, places) {
  const size = Math.abs(value);
  if (size >= 1e9 || (size > 0 && size < 1e-3)) return value.toExponential(2);
  return value.toLocaleString("en", {
    minimumFractionDigits: places,
    maximumFractionDigits: places,
  });
}

export function age(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 2) return "just now";
  if (s < 90) return `${s} s ago`;
  return `${Math.round(s / 60)} min ago`;
}

export function span(ms) {
  const s = Math.ceil(ms / 1000);
  return s < 90 ? `${s} s` : `${Math.round(s / 60)} min`;
}
