//! Matrix products of two computed values.

use std::rc::Rc;

use espalier_ir::{NodeId, Op, Pads};

use crate::import::Importer;
use crate::node::Node;
use crate::value::{Outcome, Stop, Value, View};

/// One operand: `count` matrices `rows x columns`, and whether the graph holds them with these axes exchanged.
struct Operand {
    node: NodeId,
    turned: bool,
}

/// `a * b` over the last two axes; all others count pairs of matrices.
pub fn product(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let views = [importer.float_view(node, 0)?, importer.float_view(node, 1)?];
    let refused = || {
        let message = format!("multiplies values of shape {:?} and {:?}", views[0].shape, views[1].shape);
        let help = "matrix products need equal axes in front of the last two";
        Stop::from(node.unsupported(message).with_help(help))
    };
    let split = |view: &View| match &view.shape[..] {
        [leading @ .., rows, columns] if !leading.is_empty() && view.pads == Pads::default() => {
            Ok((leading.to_vec(), *rows, *columns))
        }
        _ => Err(refused()),
    };
    let ((leading, rows, inner), (other, inner_too, columns)) = (split(&views[0])?, split(&views[1])?);
    if leading != other || inner != inner_too {
        return Err(refused());
    }
    let count: usize = leading.iter().product();
    let a = operand(importer, node, &views[0], [count, rows, inner])?;
    let b = operand(importer, node, &views[1], [count, inner, columns])?;
    let shape: Vec<usize> = leading.iter().copied().chain([rows, columns]).collect();
    if count > 1 || a.turned || !b.turned || !is_product(importer, a.node) {
        let op = Op::MatMul { transpose: [a.turned, b.turned] };
        let result = importer.emit_named(&node.name, op, &[a.node, b.node], views[0].element)?;
        return Ok(Value::View(View { shape, ..result }));
    }
    // Weights of attention times values, which have their features as first axis: so will the result.
    let op = Op::MatMul { transpose: [false, true] };
    let result = importer.emit_named(&node.name, op, &[b.node, a.node], views[0].element)?;
    let order: Rc<[u32]> = (0..rows).flat_map(|r| (0..columns).map(move |c| (c * rows + r) as u32)).collect();
    Ok(Value::View(View { shape, order: Some(order), ..result }))
}

/// True if the values come from a matrix product, one by one or through a softmax: its axes are positions.
fn is_product(importer: &Importer<'_>, mut node: NodeId) -> bool {
    loop {
        match importer.graph.node(node).op {
            Op::MatMul { .. } => return true,
            Op::Softmax { .. } | Op::BatchNorm { .. } | Op::Offset { .. } | Op::Reshape { .. } => {}
            _ => return false,
        }
        node = importer.graph.operands(node)[0];
    }
}

/// The operand as the graph holds it already, if it does; else in the order that the product reads.
fn operand(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    view: &View,
    [count, rows, columns]: [usize; 3],
) -> Result<Operand, Stop> {
    let len = count * rows * columns;
    importer.charge(node, len.saturating_mul(2))?;
    let place = |e: usize| view.order.as_ref().map_or(e as u32, |order| order[e]);
    let shape = |pair: [usize; 2]| if count == 1 { pair.to_vec() } else { vec![count, pair[0], pair[1]] };
    let exchanged = |i: usize| {
        let (matrix, at) = (i / (rows * columns), i % (rows * columns));
        matrix * rows * columns + at % rows * columns + at / rows
    };
    let turned = view.order.is_some() && (0..len).all(|i| place(exchanged(i)) == i as u32);
    if turned {
        let node = importer.reshaped(&view.label, view.node, &shape([columns, rows]))?;
        return Ok(Operand { node, turned });
    }
    let wanted: Vec<u32> = (0..len).map(place).collect();
    match importer.turned(node, view, &wanted, &shape([rows, columns]))? {
        Some(node) => Ok(Operand { node, turned }),
        None => Err(node
            .error("layout", format!("reads '{}' in an order that no exchange of axes gives", view.label))
            .with_help("bring values to their order by transposing and reshaping whole axes")
            .into()),
    }
}
