"""The shells of the product: clocks, tasks and threads around its cores."""
