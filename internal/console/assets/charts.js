// The overview's charts. The stream replaces #series; each chart then shows its new values.
"use strict";
(() => {
  const plots = new Map();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function options(box) {
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return {
      width: box.clientWidth, height: 130, pxAlign: false,
      cursor: { show: false }, legend: { show: false }, select: { show: false },
      scales: { x: { time: true, range: (u) => { const last = u.data[0].at(-1); return [Math.max(last - 300, Math.min(u.data[0][0], last - 60)), last]; } }, y: { range: (_, low, high) => [0, Math.max(1, high ?? 1) * 1.1] } },
      axes: [
        { ...axis, grid: { show: false }, size: 24, incrs: [10, 30, 60, 120], space: 60, values: (_, times) => times.map((t) => new Date(t * 1000).toISOString().slice(11, t % 60 ? 19 : 16)) },
        { ...axis, size: 44, space: 36, incrs: [0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 100000, 1000000] },
      ],
      series: [{}, { stroke: colour("--grants"), fill: colour("--grants-bg"), width: 2, spanGaps: true, points: { show: (u) => u.data[1].filter((v) => v !== null).length < 3, size: 5 } }],
    };
  }

  function draw() {
    const source = document.getElementById("series");
    if (!source) return;
    const series = JSON.parse(source.dataset.series);
    for (const box of document.querySelectorAll("[data-chart]")) {
      const data = [series.t, series[box.dataset.chart]];
      const plot = plots.get(box);
      if (plot) plot.setData(data);
      else if (box.clientWidth > 0) plots.set(box, new uPlot(options(box), data, box));
    }
  }

  function again() {
    for (const plot of plots.values()) plot.destroy();
    plots.clear();
    draw();
  }

  new MutationObserver(draw).observe(document.getElementById("main"), { subtree: true, childList: true, attributes: true, attributeFilter: ["data-series"] });
  dark.addEventListener("change", again);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) { width = innerWidth; again(); }
  });
  draw();
})();
